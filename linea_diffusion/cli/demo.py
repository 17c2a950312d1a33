"""The demonstration: learn one style on the embedded model, render a scored grid of unseen prompts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..errors import LineaError
from .grids import GridOutput
from .options.next_steps import quoted, say_next
from .options.sessions import Scoring, Seeded, Session
from .options.waiting import Watched, waiting
from .training import alone_in, settings_for, train_maps

QUICK = {"iterations": 2, "num_inference_steps": 1, "stretch": 1.0, "use_levels": False}
"""Settings of a training that shows that all works, and hardly the style."""
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
ROWS = 6


def demo(
    *,
    style: Annotated[
        str, typer.Option(help="A concept of `linea concepts`, or a .toml, .jsonl or .csv file.")
    ] = "neon",
    out: Annotated[Path, typer.Option(help="Folder for report.html, grid.png, scores.csv and maps/.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Learn for seconds only, to see that all runs.")] = False,
    seeded: Seeded,
    watched: Watched,
    model: Annotated[str, typer.Option(help="An embedded model.")] = "shapeland-unet",
) -> None:
    """Learn one style on the embedded model and render a scored grid. Nothing is downloaded."""
    from ..concepts.concept import list_concepts, load_concept

    concept, session = load_concept(style), Session(seed=seeded.seed)
    if style in list_concepts(world="real"):
        raise LineaError(
            f"got style {style!r}, which the embedded model has never seen: expected one of "
            f"{', '.join(list_concepts(world='shapeland'))}; for it, use linea train with --model"
        )
    from ..grids import StyleGrid
    from ..shapeland.truth import held_out_prompts
    from ..training.effort import picture_effort, training_effort

    with alone_in(out / "maps", dry_run=watched.dry_run):
        pipe = session.load(model)
        config = settings_for(pipe, concept, {"seed": session.seed, **(QUICK if quick else {})})
        pictures = picture_effort(pipe, "render", ROWS * len(STRENGTHS), {})
        efforts = [*training_effort(pipe, concept, config), pictures]
        with (
            waiting(pipe, efforts, {}, dry_run=watched.dry_run, hint=watched.hint(out)),
            watched.tracked(out, concept.name, asdict(config)) as look,
        ):
            maps = train_maps(pipe, concept, config, out / "maps", preview=watched.pictures(out), callback=look)
            pipe.load_steering(maps, adapter_name=concept.name)
            grid = StyleGrid.render(pipe, held_out_prompts(ROWS), STRENGTHS, seeds=session.seed, style=concept.name)
    grid.score(Scoring().scorer(session.device, model), concept)
    GridOutput(report=True).write(grid, out, pipe.steering)
    say_next(
        turn=f'linea generate "a red heart" --steering {quoted(out / "maps")} --strength 0.7',
        learn_your_own='linea train mine --source prompts.txt --template "{prompt}, mine" --out mine',
    )
