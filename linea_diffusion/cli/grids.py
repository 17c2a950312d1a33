"""The command that renders grids: prompts, styles, seeds, two dials, sparsity or methods against strengths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LineaError, make_folder
from .options import checks
from .options.grid_rows import Rows
from .options.next_steps import say_next
from .options.sessions import Plots, ScoredSession, command_line
from .options.steering import Steered
from .options.texts import Texts
from .options.waiting import DryRun, waiting

if TYPE_CHECKING:
    from ..concepts.concept import StyleTexts
    from ..grids import StyleGrid
    from ..grids.plans import Plan
    from ..maps.steering_maps import SteeringMaps
    from ..scoring.clip_scorer import ClipScorer


@dataclass(frozen=True)
class GridSession(ScoredSession):
    """A session that need not score."""

    clip: Annotated[
        str | None,
        typer.Option(help="As for `linea score`; none for no scores, and so it is for real models when left out."),
    ] = None

    def scores(self, model: str) -> bool:
        """Whether pictures of a model are scored; if not although nobody said so, that is told."""
        from ..scoring.fitting import REAL_CLIP, fits

        known = self.clip is not None or fits(None, model)
        if not known:
            typer.echo(f"linea: no scores, for shapeland-clip knows no pictures of {model}: {REAL_CLIP}", err=True)
        return known and self.clip != "none"


@dataclass(frozen=True)
class GridOutput:
    """What is made of a rendered grid: how it looks, and which files it becomes."""

    cell_size: Annotated[int, typer.Option(help="Longer side of a picture in the grid, in pixels.")] = 192
    score: Annotated[
        str | None, typer.Option(help="Figure that is shown, as `linea score --help` lists them; clip_style_cosine.")
    ] = None
    score_place: Annotated[
        str,
        typer.Option(help="under or on each picture, or none.", callback=checks.one_of("under", "on", "none")),
    ] = "under"
    colorbar: Annotated[bool, typer.Option(help="Frame each picture in the colour of its score.")] = False
    animate: Annotated[Path | None, typer.Option(help="Also an animation over strength: a .gif or .webp file.")] = None
    images: Annotated[
        Path | None, typer.Option(help="Also the single pictures, in this folder beside a metadata.jsonl.")
    ] = None
    format: Annotated[
        str, typer.Option(help="Of the grid: png, webp or jpg.", callback=checks.one_of("png", "webp", "jpg"))
    ] = "png"
    report: Annotated[
        bool, typer.Option("--report", help="Also report.html: sliders, curves, settings in one offline file.")
    ] = False
    plots: Plots = None

    @property
    def drawing(self) -> dict[str, Any]:
        """Arguments of `StyleGrid.image`."""
        place = None if self.score_place == "none" else self.score_place
        return {"cell_size": self.cell_size, "score": self.score, "score_place": place, "colorbar": self.colorbar}

    def check(self, columns: int, *, scores: bool) -> None:
        """Raise for what would only fail after the rendering."""
        from ..grids.animation import check_animation
        from ..grids.sheet import check_drawing

        check_drawing(self.cell_size, self.score)
        if not scores and (self.colorbar or self.score):
            raise LineaError(
                f"got {'--colorbar' if self.colorbar else '--score'} and no --clip: expected a CLIP to score with, "
                "or the option left out"
            )
        if self.animate:
            check_animation(self.animate, columns)
        for folder in (self.images, self.animate.parent if self.animate else None):
            if folder:
                make_folder(folder)

    def write(self, grid: StyleGrid, out: Path, maps: Mapping[str, SteeringMaps]) -> None:
        """Everything that is asked for; `maps` are all that may have steered, by name."""
        if any(cell.scores for cell in grid.cells):
            print_scores(grid)
        sheet = out / f"grid.{self.format}"
        grid.save(sheet, **self.drawing)
        grid.save_csv(out / "scores.csv")
        if self.images:
            grid.save_images(self.images)
        if self.animate:
            grid.save_animation(self.animate, cell_size=self.cell_size)
        more = "".join(f", {place}" for place in (self.animate, self.images) if place)
        typer.echo(f"\nlook at {sheet}{more}; scores in {out / 'scores.csv'}")
        if self.report or self.plots:
            _write_report(grid, maps, out, report=self.report, plots=self.plots)


def grid(
    prompts: Annotated[list[str], typer.Argument(help="One row each; a single one unless rows are prompts.")],
    *,
    steered: Steered,
    out: Annotated[Path, typer.Option(help="Folder for grid.png and scores.csv.")] = Path("grid"),
    rows: Rows,
    scored: Texts,
    output: GridOutput,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures at once; a row when left out.", callback=checks.at_least(1))
    ] = None,
    dry_run: DryRun = False,
    session: GridSession,
) -> None:
    """Render a grid of pictures, each row from one noise, with CLIP scores."""
    from ..grids import StyleGrid
    from ..training.effort import picture_effort

    texts = scored.texts
    rows.check_prompts(prompts)
    base, dial = steered.base(), steered.call()
    scores = session.scores(base)
    output.check(len(steered.dials(rows.strengths)), scores=scores)
    if not dry_run:
        make_folder(out)
    scorer = session.scorer(session.device, base) if scores else None
    pipe = steered.open(session, load=rows.loads)
    plan = rows.plan(pipe, steered, prompts, session.seed, texts.name if texts else "")
    if scorer:
        _check_texts(scorer, plan, texts)
    call = {**dial, "batch_size": batch_size, **session.arguments}
    pictures = picture_effort(pipe, "render", len(plan.rows) * len(plan.columns), session.arguments)
    with waiting(pipe, [pictures], session.arguments, dry_run=dry_run):
        rendered = StyleGrid.of_plan(pipe, plan, folder=output.images, **call)
    if scorer:
        rendered.score(scorer, texts)
    output.write(rendered, out, {**pipe.steering, **plan.maps})
    if not output.report:
        say_next(turn_the_dial_in_a_browser="the same command with --report")


def _check_texts(scorer: ClipScorer, plan: Plan, texts: StyleTexts | None) -> None:
    """Texts that cannot be scored are refused before anything is rendered."""
    silent = [row.style for row in plan.rows if texts is None and row.style not in plan.texts]
    if silent:
        raise LineaError(
            f"got maps {silent[0] or '(unnamed)'} that do not say what to score: expected --text, or --concept"
        )
    used = [texts] if texts else list(plan.texts.values())
    scorer.embed_texts([row.prompt for row in plan.rows] + [text for one in used for text in (one.text, one.neutral)])


def _write_report(
    grid: StyleGrid, maps: Mapping[str, SteeringMaps], out: Path, *, report: bool, plots: str | None
) -> None:
    from ..grids.report.grid_page import grid_page
    from ..grids.report.page import save_plots, write_report

    used = dict.fromkeys(name for cell in grid.cells for name in cell.strengths)
    page = grid_page(grid, maps={name: maps[name] for name in used}, command=command_line())
    if report:
        write_report(page, out / "report.html")
        typer.echo(f"turn the dial in {out / 'report.html'}")
    if plots:
        save_plots(page, out / "plots", f".{plots}")


PRINTED = ("clip_style_cosine", "clip_prompt_cosine", "clip_style_probability", "similarity_to_unsteered")


def print_scores(grid: StyleGrid) -> None:
    """Print a grid's mean scores, one line per column, and the means of its curves' figures."""
    from ..scoring.figures import base_of, columns_for, figure_of

    names = [name for name in columns_for(cell.scores for cell in grid.cells) if base_of(name) in PRINTED]
    heads = {name: figure.label for name in names if (figure := figure_of(name)) is not None}
    typer.echo(f"\n{'column':>16}  " + "  ".join(f"{head:>11}" for head in heads.values()))
    for label, row in zip(grid.column_labels, grid.mean_scores(), strict=True):
        typer.echo(
            f"{label:>16}  " + "  ".join(f"{row[name]:>{max(11, len(head))}.3f}" for name, head in heads.items())
        )
    strengths = [cell.strength for cell in grid.rows[0]]
    if not grid.dials and len(set(strengths)) == len(strengths) > 1:
        _print_curves(grid)


def _print_curves(grid: StyleGrid) -> None:
    from ..scoring.figures import CURVES

    figures = grid.curve_figures()
    for name, figure in CURVES.items():
        values = [row[name] for row in figures if not math.isnan(row[name])]
        if values:
            typer.echo(f"{figure.header}: mean over rows {sum(values) / len(values):.3f}")
