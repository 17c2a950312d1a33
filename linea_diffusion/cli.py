"""`linea`: the command line."""

from __future__ import annotations

import contextlib
import csv
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import LineaError

if TYPE_CHECKING:
    from .concepts import Concept
    from .grids import StyleGrid
    from .pipeline import LinEASDiffusionPipeline

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Learn a style from words, then turn it from 0 to 1 on any diffusers text-to-image pipeline.",
)

Model = Annotated[str, typer.Option(help="shapeland-unet (embedded), a diffusers folder, or a Hub id.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option(help="float32, float16 or bfloat16.")]
Seed = Annotated[int, typer.Option(help="Seeds all noise.")]
Steps = Annotated[int | None, typer.Option(help="Denoising steps; the model's own default when left out.")]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale; the model's own default when left out.")]
Clip = Annotated[str, typer.Option(help="shapeland-clip, an open_clip architecture, or a folder.")]
ClipWeights = Annotated[str | None, typer.Option(help="open_clip tag or checkpoint file of --clip.")]
Steering = Annotated[list[str], typer.Option(help="Folder or Hub id of steering maps; may be repeated.")]


@app.command(epilog="Example: linea demo --style watercolor --out demo")
def demo(
    style: Annotated[str, typer.Option(help="A concept of `linea concepts`, or a .toml file.")] = "neon",
    out: Annotated[Path, typer.Option(help="Folder for grid.png, scores.csv and maps/.")] = Path("demo"),
    seed: Seed = 0,
    model: Annotated[str, typer.Option(help="An embedded model.")] = "shapeland-unet",
) -> None:
    """Learn one style on the embedded model and render a scored grid. Nothing is downloaded."""
    from .demo import run_demo

    _print_scores(run_demo(style, out, seed=seed, model=model))
    typer.echo(f"\nlook at {out / 'grid.png'}; scores in {out / 'scores.csv'}, maps in {out / 'maps'}")


@app.command(epilog="Example: linea train neon --out neon")
def train(
    concept: Annotated[
        str, typer.Argument(help="A concept of `linea concepts`, a .toml file, or a name for --source.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the maps.")],
    model: Model = "shapeland-unet",
    source: Annotated[Path | None, typer.Option(help="Text file with one source prompt per line.")] = None,
    target: Annotated[Path | None, typer.Option(help="Text file with one target prompt per line.")] = None,
    modules: Annotated[list[str] | None, typer.Option(help="Preset or pattern; may be repeated.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Source prompts per iteration; all when left out.")] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Learn the steering maps of a concept from source and target prompts."""
    from .storage import make_folder
    from .training import TrainingConfig, train_steering_maps

    learned = _concept(concept, source, target)
    make_folder(out)
    given: dict[str, Any] = {
        "iterations": iterations,
        "lr": lr,
        "batch_size": batch_size,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "target_modules": tuple(modules) if modules else None,
    }
    config = TrainingConfig(seed=seed, **{key: value for key, value in given.items() if value is not None})
    maps = train_steering_maps(_pipeline(model, device, dtype), learned, config)
    maps.save_pretrained(out)
    losses, turns = maps.metadata["losses"], len(config.strengths)
    first, last = (sum(part) / len(part) for part in (losses[:turns], losses[-turns:]))
    typer.echo(f"loss {first:.4f} -> {last:.4f} (mean over the strengths); {len(maps.maps)} maps in {out}")


@app.command(epilog='Example: linea generate "a red heart" --steering neon --strength 0.7 --out heart.png')
def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    out: Annotated[Path, typer.Option(help="The picture; with several strengths their numbers are added.")] = Path(
        "image.png"
    ),
    steering: Steering = [],  # noqa: B006
    strength: Annotated[
        str | None, typer.Option(help="A number, or several with commas: one noise, one batch. 1 when left out.")
    ] = None,
    model: Model = "shapeland-unet",
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Render one prompt, steered."""
    import torch

    from .images import check_image_name
    from .storage import make_folder

    strengths = _numbers(strength or ("1" if steering else "0"))
    check_image_name(out)
    make_folder(out.parent)
    pipe = _steered(model, steering, device, dtype)
    generator = torch.Generator().manual_seed(seed)
    images = pipe(prompt, strength=strengths, generator=generator, **_call(steps, guidance)).images
    for value, image in zip(strengths, images, strict=True):
        path = out if len(strengths) == 1 else out.with_stem(f"{out.stem}-{value:g}")
        image.save(path)
        typer.echo(str(path))


@app.command(epilog='Example: linea grid "a red heart" "a blue fish" --steering neon --concept neon --out grid')
def grid(
    prompts: Annotated[list[str], typer.Argument(help="One row each.")],
    steering: Steering,
    out: Annotated[Path, typer.Option(help="Folder for grid.png and scores.csv.")] = Path("grid"),
    concept: Annotated[
        str | None, typer.Option(help="Concept whose texts are scored; the maps' own when left out.")
    ] = None,
    strengths: Annotated[str, typer.Option(help="One column each.")] = "0,0.25,0.5,0.75,1",
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
    from .concepts import StyleTexts, load_concept
    from .grids import StyleGrid
    from .scoring import ClipScorer
    from .storage import make_folder

    values = _numbers(strengths)
    texts = load_concept(concept).texts if concept else None
    make_folder(out)
    scorer = ClipScorer(clip, clip_weights, device=device)
    pipe = _steered(model, steering, device, dtype)
    facts = pipe.steering[steering[0]].metadata
    if texts is None and not {"concept", "text", "neutral"} <= facts.keys():
        raise LineaError(f"got maps {steering[0]!r} that do not say what to score: expected --concept with them")
    texts = texts or StyleTexts(facts["concept"], facts["text"], facts["neutral"])
    rendered = StyleGrid.render(pipe, prompts, values, seeds=seed, style=texts.name, **_call(steps, guidance))
    rendered.score(scorer, texts)
    rendered.save(out / "grid.png")
    rendered.save_csv(out / "scores.csv")
    _print_scores(rendered)
    typer.echo(f"\nlook at {out / 'grid.png'}; scores in {out / 'scores.csv'}")


@app.command(epilog='Example: linea score demo/grid.png --text "a picture in neon style"')
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
    from .images import find_images, open_images
    from .scoring import ClipScorer
    from .storage import make_folder

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


@app.command(epilog="Example: linea concepts")
def concepts() -> None:
    """List the concepts that come with the package."""
    from .concepts import list_concepts, load_concept

    for name in list_concepts():
        concept = load_concept(name)
        typer.echo(f"{name:<16} {len(concept.source)} -> {len(concept.target)} prompts, e.g. {concept.target[0]!r}")


@app.command(epilog="Example: linea modules shapeland-unet --modules norms")
def modules(
    model: Annotated[str, typer.Argument(help="shapeland-unet, a diffusers folder, or a Hub id.")],
    modules: Annotated[list[str] | None, typer.Option(help="Preset or pattern; may be repeated.")] = None,
) -> None:
    """List the modules that would be steered."""
    from .modules import find_modules
    from .training import TrainingConfig

    found = find_modules(_pipeline(model, "cpu", "float32"), modules or TrainingConfig().target_modules)
    for name, module in found.items():
        typer.echo(f"{name}  {type(module).__name__}")
    typer.echo(f"{len(found)} modules")


@app.command(epilog="Example: linea info demo/maps")
def info(steering: Annotated[str, typer.Argument(help="Folder or Hub id of steering maps.")]) -> None:
    """Show what a set of steering maps holds and how it was learned."""
    from .maps import SteeringMaps

    maps = SteeringMaps.from_pretrained(steering)
    for key in ("concept", "base_model", "base_class", "training"):
        typer.echo(f"{key}: {maps.metadata.get(key)}")
    typer.echo(maps.summary())


def main() -> None:
    """Entry point: a user's error is one line on standard error and exit code 2."""
    try:
        app()
    except LineaError as error:
        typer.echo(f"linea: {error}", err=True)
        sys.exit(2)


def _pipeline(model: str, device: str, dtype: str) -> LinEASDiffusionPipeline:
    import torch

    from .pipeline import LinEASDiffusionPipeline

    dtypes = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype not in dtypes:
        raise LineaError(f"got dtype {dtype!r}: expected one of {', '.join(dtypes)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise LineaError(f"got device {device!r}: expected one this machine has, such as cpu ({error!s:.80})") from None
    return LinEASDiffusionPipeline.from_pretrained(model, dtype=dtypes[dtype]).to(device)


def _steered(model: str, steering: list[str], device: str, dtype: str) -> LinEASDiffusionPipeline:
    from .maps import SteeringMaps

    loaded = {source: SteeringMaps.from_pretrained(source) for source in steering}
    pipe = _pipeline(model, device, dtype)
    for source, maps in loaded.items():
        pipe.load_steering(maps, adapter_name=source)
    return pipe


def _concept(name: str, source: Path | None, target: Path | None) -> Concept:
    from .concepts import concept_from_files, load_concept

    if source is None and target is None:
        return load_concept(name)
    if source is None or target is None:
        raise LineaError("got only one of --source and --target: expected both, or neither with a known concept")
    return concept_from_files(source, target, name=name)


def _numbers(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(math.isfinite(value) for value in values):
        raise LineaError(f"got strength {text!r}: expected finite numbers such as 0.7 or 0,0.5,1")
    return values


def _call(steps: int | None, guidance: float | None) -> dict[str, Any]:
    given = {"num_inference_steps": steps, "guidance_scale": guidance}
    return {key: value for key, value in given.items() if value is not None}


def _print_scores(grid: StyleGrid) -> None:
    typer.echo(f"\n{'strength':>8}  {'CLIP style':>10}  {'CLIP prompt':>11}  {'P(style)':>8}  {'like unsteered':>14}")
    for row in grid.mean_scores():
        typer.echo(
            f"{row['strength']:>8.2f}  {row['clip_style']:>10.3f}  {row['clip_prompt']:>11.3f}  "
            f"{row['style_probability']:>8.3f}  {row['similarity_to_unsteered']:>14.3f}"
        )
