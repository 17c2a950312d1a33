"""Commands that make or judge pictures: generate, grid, score."""

from __future__ import annotations

import contextlib
import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LineaError
from .options import (
    Calibrated,
    Clip,
    ClipWeights,
    Device,
    Dtype,
    Guidance,
    Model,
    Seed,
    Steering,
    Steps,
    call_arguments,
    open_steered,
    parse_strengths,
)

if TYPE_CHECKING:
    from ..grids import StyleGrid


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    out: Annotated[Path, typer.Option(help="The picture; with several strengths their numbers are added.")] = Path(
        "image.png"
    ),
    steering: Steering = [],  # noqa: B006
    strength: Annotated[
        str | None, typer.Option(help="A number, or several with commas: one noise, one batch. 1 when left out.")
    ] = None,
    calibrated: Calibrated = False,
    model: Model = "shapeland-unet",
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Render one prompt, steered."""
    import torch

    from ..images import check_image_name
    from ..storage import make_folder

    strengths = parse_strengths(strength or ("1" if steering else "0"))
    check_image_name(out)
    make_folder(out.parent)
    pipe = open_steered(model, steering, device, dtype)
    generator = torch.Generator().manual_seed(seed)
    given = call_arguments(steps, guidance)
    images = pipe(prompt, strength=strengths, calibrated=calibrated, generator=generator, **given).images
    for value, image in zip(strengths, images, strict=True):
        path = out if len(strengths) == 1 else out.with_stem(f"{out.stem}-{value:g}")
        image.save(path)
        typer.echo(str(path))


def grid(
    prompts: Annotated[list[str], typer.Argument(help="One row each.")],
    steering: Steering,
    out: Annotated[Path, typer.Option(help="Folder for grid.png and scores.csv.")] = Path("grid"),
    concept: Annotated[
        str | None, typer.Option(help="Concept whose texts are scored; the maps' own when left out.")
    ] = None,
    strengths: Annotated[str, typer.Option(help="One column each.")] = "0,0.25,0.5,0.75,1",
    calibrated: Calibrated = False,
    model: Model = "shapeland-unet",
    steps: Steps = None,
    guidance: Guidance = None,
    clip: Clip = "shapeland-clip",
    clip_weights: ClipWeights = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Render prompts at several strengths, with CLIP scores."""
    from ..concepts import StyleTexts, load_concept
    from ..grids import StyleGrid
    from ..scoring import ClipScorer
    from ..storage import make_folder

    values = parse_strengths(strengths)
    texts = load_concept(concept).texts if concept else None
    make_folder(out)
    scorer = ClipScorer(clip, clip_weights, device=device)
    pipe = open_steered(model, steering, device, dtype)
    facts = pipe.steering[steering[0]].metadata
    if texts is None and not {"concept", "text", "neutral"} <= facts.keys():
        raise LineaError(f"got maps {steering[0]!r} that do not say what to score: expected --concept with them")
    texts = texts or StyleTexts(facts["concept"], facts["text"], facts["neutral"])
    given = {"calibrated": calibrated, **call_arguments(steps, guidance)}
    rendered = StyleGrid.render(pipe, prompts, values, seeds=seed, style=texts.name, **given)
    rendered.score(scorer, texts)
    rendered.save(out / "grid.png")
    rendered.save_csv(out / "scores.csv")
    print_scores(rendered)
    typer.echo(f"\nlook at {out / 'grid.png'}; scores in {out / 'scores.csv'}")


def score(
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of PNG, JPEG and WebP pictures.")],
    text: Annotated[str, typer.Option(help="Text to compare with, such as: a picture in neon style.")],
    neutral: Annotated[str, typer.Option(help="Text that --text is weighed against.")] = "a picture of something",
    out: Annotated[Path | None, typer.Option(help="CSV file; standard output when left out.")] = None,
    clip: Clip = "shapeland-clip",
    clip_weights: ClipWeights = None,
    device: Device = "cpu",
) -> None:
    """Score pictures made anywhere: raw CLIP cosine and zero-shot probability."""
    from ..images import find_images, open_images
    from ..scoring import ClipScorer
    from ..storage import make_folder

    paths = find_images(images)
    if out:
        make_folder(out.parent)
    pictures = open_images(paths)
    scorer = ClipScorer(clip, clip_weights, device=device)
    cosines = scorer.text_similarity(pictures, text).tolist()
    probabilities = scorer.style_probability(pictures, text, neutral).tolist()
    rows = [[str(path), f"{c:.5f}", f"{p:.5f}"] for path, c, p in zip(paths, cosines, probabilities, strict=True)]
    with out.open("w", newline="", encoding="utf-8") if out else contextlib.nullcontext(sys.stdout) as file:
        csv.writer(file).writerows([["image", "clip_style", "style_probability"], *rows])


def print_scores(grid: StyleGrid) -> None:
    """Print a grid's mean scores, one line per strength."""
    typer.echo(f"\n{'strength':>8}  {'CLIP style':>10}  {'CLIP prompt':>11}  {'P(style)':>8}  {'like unsteered':>14}")
    for row in grid.mean_scores():
        typer.echo(
            f"{row['strength']:>8.2f}  {row['clip_style']:>10.3f}  {row['clip_prompt']:>11.3f}  "
            f"{row['style_probability']:>8.3f}  {row['similarity_to_unsteered']:>14.3f}"
        )
