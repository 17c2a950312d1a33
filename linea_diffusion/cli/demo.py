"""The demonstration: learn one style on the embedded model, render a scored grid of unseen prompts."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..concepts.concept import list_concepts, load_concept
from ..errors import LineaError, make_folder
from ..grids import StyleGrid
from ..grids.report.grid_page import grid_page
from ..grids.report.page import write_report
from ..maps.facts import Facts
from ..pipelines.pipeline import LinEASDiffusionPipeline
from ..scoring.clip_scorer import ClipScorer
from ..shapeland.truth import held_out_prompts
from ..training.recipes import recipe_for
from ..training.stopping import StopRequest
from ..training.train import train_steering_maps

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def run_demo(
    style: str,
    out: Path,
    *,
    seed: int = 0,
    rows: int = 6,
    model: str = "shapeland-unet",
    stop: StopRequest | None = None,
) -> StyleGrid:
    """Write ``maps/``, ``grid.png``, ``report.html`` and ``scores.csv`` into `out` and return the scored grid.

    Raises:
        LineaError: unknown style or model, or a folder that cannot be written.
        Stopped: `stop` was asked for while the style was learned; the maps learned so far are in ``maps/``.
    """
    concept = load_concept(style)
    if style in list_concepts(world="real"):
        raise LineaError(
            f"got style {style!r}, which the embedded model has never seen: expected one of "
            f"{', '.join(list_concepts(world='shapeland'))}; for it, use linea train with --model"
        )
    make_folder(out)
    pipe = LinEASDiffusionPipeline.from_pretrained(model)
    stop = stop or StopRequest()
    config = recipe_for(pipe, concept, seed=seed)
    maps = train_steering_maps(pipe, concept, config, stop=stop)
    losses = Facts.of(maps.metadata).losses or ()
    if losses:
        maps.save_pretrained(out / "maps")
    done = f"{len(losses)} of {config.iterations} iterations"
    stop.end_gently(f"training stopped after {done}; what is learned so far is in {out / 'maps'}")
    pipe.load_steering(maps, adapter_name=concept.name)
    grid = StyleGrid.render(pipe, held_out_prompts(rows), STRENGTHS, seeds=seed, style=concept.name)
    grid.score(ClipScorer(), concept)
    grid.save(out / "grid.png")
    grid.save_csv(out / "scores.csv")
    command = shlex.join(["linea", "demo", "--style", style, "--seed", str(seed), "--model", model, "--out", str(out)])
    write_report(grid_page(grid, maps={concept.name: maps}, command=command), out / "report.html")
    return grid
