"""The command that renders grids: prompts, styles, seeds, two dials, sparsity or methods against strengths."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LineaError
from . import checks
from .grid_rows import Rows, named_maps
from .options import (
    Calibrated,
    ClipSet,
    ClipWeights,
    Device,
    Dtype,
    Guidance,
    Model,
    Seed,
    Steering,
    Steps,
    call_arguments,
    command_line,
    open_pipeline,
    open_scorer,
)

if TYPE_CHECKING:
    from ..concepts.concept import StyleTexts
    from ..grids import StyleGrid
    from ..grids.plans import Plan
    from ..maps.steering_maps import SteeringMaps
    from ..scoring.clip_scorer import ClipScorer

Report = Annotated[
    bool, typer.Option("--report", help="Also report.html: sliders, curves, settings in one offline file.")
]

FORMATS = ("png", "webp", "jpg")


def grid(
    prompts: Annotated[list[str], typer.Argument(help="One row each; a single one unless rows are prompts.")],
    steering: Steering,
    out: Annotated[Path, typer.Option(help="Folder for grid.png and scores.csv.")] = Path("grid"),
    rows: Annotated[
        str | None,
        typer.Option(
            help="prompts (when left out; all --steering turn together), seeds (likewise), styles (each --steering a "
            "row), sparsity (likewise, maps of one concept, labelled by their support), methods (likewise, by name)."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="A second dial: rows turn these maps, columns those of --steering.")
    ] = None,
    in_words: Annotated[
        bool, typer.Option(help="With --rows methods: a row that asks for the style in words.")
    ] = False,
    concept: Annotated[
        str | None, typer.Option(help="Concept whose texts all rows are scored against; the maps' own when left out.")
    ] = None,
    strengths: Annotated[str, typer.Option(help="One column each.")] = "0,0.25,0.5,0.75,1",
    row_strengths: Annotated[str | None, typer.Option(help="With --against: one row each; as --strengths.")] = None,
    seeds: Annotated[str | None, typer.Option(help="With --rows seeds: one row each, such as 0,1,2.")] = None,
    calibrated: Calibrated = None,
    cell_size: Annotated[int, typer.Option(help="Longer side of a picture in the grid, in pixels.")] = 192,
    score: Annotated[
        str | None, typer.Option(help="Figure that is shown, as `linea score --help` lists them; clip_style.")
    ] = None,
    score_place: Annotated[str, typer.Option(help="under or on each picture, or none.")] = "under",
    colorbar: Annotated[bool, typer.Option(help="Frame each picture in the colour of its score.")] = False,
    animate: Annotated[Path | None, typer.Option(help="Also an animation over strength: a .gif or .webp file.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Also the single pictures, in this folder beside a metadata.jsonl.")
    ] = None,
    format: Annotated[str, typer.Option(help="Of the grid: png, webp or jpg.")] = "png",
    report: Report = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures at once; a row when left out.", callback=checks.at_least(1))
    ] = None,
    model: Model = "shapeland-unet",
    steps: Steps = None,
    guidance: Guidance = None,
    clip: Annotated[str, typer.Option(help="As for `linea score`, or none for no scores.")] = "shapeland-clip",
    clip_weights: ClipWeights = None,
    clip_set: ClipSet = [],  # noqa: B006
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Render a grid of pictures, each row from one noise, with CLIP scores."""
    from ..errors import make_folder
    from ..grids import StyleGrid

    positions = checks.strengths(strengths)
    asked = Rows(rows, against, row_strengths, seeds, in_words)
    maps = named_maps(steering, short=asked.kind not in ("prompts", "seeds"))
    texts = _texts(concept)
    drawing = _drawing(cell_size, score, score_place, colorbar, scored=clip != "none")
    _check_names(format, animate, prompts, asked.kind, images, positions)
    make_folder(out)
    scorer = None if clip == "none" else open_scorer(clip, clip_weights, device, clip_set)
    pipe = open_pipeline(model, device, dtype)
    plan = asked.plan(pipe, maps, prompts, positions, seed=seed, style=texts.name if texts else "")
    if scorer:
        _check_texts(scorer, plan, texts, steering)
    given = {"calibrated": calibrated, "batch_size": batch_size, **call_arguments(steps, guidance)}
    rendered = StyleGrid.of_plan(pipe, plan, folder=images, **given)
    if scorer:
        rendered.score(scorer, texts)
        print_scores(rendered)
    _write(rendered, out, drawing, format, animate, images, cell_size)
    if report:
        _write_report(rendered, {**pipe.steering, **plan.maps}, out / "report.html")


def _texts(concept: str | None) -> StyleTexts | None:
    from ..concepts.concept import load_concept

    return load_concept(concept).texts if concept else None


def _drawing(cell_size: int, score: str | None, place: str, colorbar: bool, *, scored: bool) -> dict[str, Any]:
    from ..errors import nearest_name
    from ..grids.sheet import SCORE_PLACES, check_size
    from ..scoring.figures import SCORES

    check_size(cell_size)
    if score is not None and score not in SCORES:
        raise LineaError(
            f"got --score {score}: expected one of {', '.join(SCORES)}; nearest: {nearest_name(score, SCORES)}"
        )
    if place not in (*SCORE_PLACES, "none"):
        raise LineaError(f"got --score-place {place}: expected one of {', '.join(SCORE_PLACES)}, none")
    if not scored:
        if colorbar or score:
            raise LineaError(
                f"got {'--colorbar' if colorbar else '--score'} and --clip none: expected a CLIP to score with, or "
                "the option left out"
            )
        return {"cell_size": cell_size}
    chosen = None if place == "none" else place
    return {"cell_size": cell_size, "score": score, "score_place": chosen, "colorbar": colorbar}


def _check_names(
    format: str,
    animate: Path | None,
    prompts: list[str],
    kind: str,
    images: Path | None,
    strengths: list[float],
) -> None:
    """What would only fail after the rendering."""
    from ..errors import make_folder
    from ..grids.animation import ANIMATION_ENDINGS

    if format not in FORMATS:
        raise LineaError(f"got --format {format}: expected one of {', '.join(FORMATS)}")
    if animate and animate.suffix.lower() not in ANIMATION_ENDINGS:
        raise LineaError(f"got --animate {animate}: expected a file name ending in {' or '.join(ANIMATION_ENDINGS)}")
    if animate and len(strengths) < 2:
        raise LineaError(f"got --animate {animate} and one strength: expected several to move through")
    if kind != "prompts" and len(prompts) != 1:
        raise LineaError(f"got {len(prompts)} prompts for a grid of {kind}: expected one, which all rows share")
    for folder in (images, animate.parent if animate else None):
        if folder:
            make_folder(folder)


def _check_texts(scorer: ClipScorer, plan: Plan, texts: StyleTexts | None, steering: list[str]) -> None:
    """Texts that cannot be scored are told before anything is rendered."""
    silent = [row.style for row in plan.rows if texts is None and row.style not in plan.texts]
    if silent:
        raise LineaError(
            f"got maps {silent[0] or steering[0]!r} that do not say what to score: expected --concept with them"
        )
    used = [texts] if texts else list(plan.texts.values())
    scorer.embed_texts([row.prompt for row in plan.rows] + [text for one in used for text in (one.text, one.neutral)])


def _write(
    rendered: StyleGrid,
    out: Path,
    drawing: dict[str, Any],
    format: str,
    animate: Path | None,
    images: Path | None,
    cell_size: int,
) -> None:
    sheet = out / f"grid.{format}"
    rendered.save(sheet, **drawing)
    rendered.save_csv(out / "scores.csv")
    if images:
        rendered.save_images(images)
    if animate:
        rendered.save_animation(animate, cell_size=cell_size)
    more = "".join(f", {place}" for place in (animate, images) if place)
    typer.echo(f"\nlook at {sheet}{more}; scores in {out / 'scores.csv'}")


def _write_report(rendered: StyleGrid, known: dict[str, SteeringMaps], path: Path) -> None:
    from ..grids.report.grid_page import grid_page
    from ..grids.report.page import write_report

    used = dict.fromkeys(name for cell in rendered.cells for name in cell.strengths)
    write_report(grid_page(rendered, maps={name: known[name] for name in used}, command=command_line()), path)
    typer.echo(f"turn the dial in {path}")


def print_scores(grid: StyleGrid) -> None:
    """Print a grid's mean scores, one line per column, and the means of its curves' figures."""
    typer.echo(f"\n{'column':>16}  {'CLIP style':>10}  {'CLIP prompt':>11}  {'P(style)':>8}  {'like unsteered':>14}")
    for label, row in zip(grid.column_labels, grid.mean_scores(), strict=True):
        typer.echo(
            f"{label:>16}  {row['clip_style']:>10.3f}  {row['clip_prompt']:>11.3f}  "
            f"{row['style_probability']:>8.3f}  {row['similarity_to_unsteered']:>14.3f}"
        )
    strengths = [cell.strength for cell in grid.rows[0]]
    if len(set(strengths)) == len(strengths) > 1:
        _print_curves(grid)


def _print_curves(grid: StyleGrid) -> None:
    from ..scoring.figures import CURVES

    figures = grid.curve_figures()
    for name, figure in CURVES.items():
        known = [row[name] for row in figures if not math.isnan(row[name])]
        if known:
            typer.echo(f"{figure.header}: mean over rows {sum(known) / len(known):.3f}")
