"""The command that compares ways to steer: evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LineaError, make_folder
from ..steering.parsing import parse_strengths
from .options import checks
from .options.sessions import Model, ScoredSession, command_line
from .options.steering import Calibrated, split_name, strength_option
from .options.waiting import DryRun, waiting

if TYPE_CHECKING:
    from ..evaluation.records import Record
    from ..maps.steering_maps import SteeringMaps
    from ..training.effort import Effort

SHOWN = 3
"""Prompts of each style whose pictures are in the report."""


def evaluate(
    *,
    style: Annotated[list[str], typer.Option(help="Concept, by name or file; may be repeated.")],
    methods: Annotated[
        str, typer.Option(help="Names with commas, or folders of maps; NAME=FOLDER names one in tables.")
    ] = "lineas,lin-act,gaussian-act,mean-shift,prompting",
    steering: Annotated[
        list[str], typer.Option(help="Folder of maps as one more method, or NAME=FOLDER; may be repeated.")
    ] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder for report.html, evaluation.csv, evaluation.md and maps/.")] = Path(
        "evaluation"
    ),
    prompts: Annotated[Path | None, typer.Option(help="Text file with one held-out prompt per line.")] = None,
    count: Annotated[int, typer.Option(help="How many held-out prompts.", callback=checks.at_least(1))] = 64,
    strengths: Annotated[str, strength_option("The dial's positions")] = ("0,0.125,0.25,0.375,0.5,0.625,0.75,0.875,1"),
    calibrated: Calibrated = None,
    model: Model = "shapeland-unet",
    dry_run: DryRun = False,
    session: ScoredSession,
) -> None:
    """Compare ways to steer on held-out prompts, with 95% intervals. Maps in OUT/maps are used, not fitted again."""
    ways, positions = _named([*methods.split(","), *steering]), parse_strengths(strengths)
    from ..concepts.concept import load_concept
    from ..evaluation.comparison import comparison_markdown
    from ..evaluation.effort import comparison_effort
    from ..evaluation.evaluate import Pictures, check_dial, evaluate, keep_first
    from ..evaluation.evaluation_page import evaluation_page
    from ..evaluation.held_out import check_removal, judge_of, prompts_for
    from ..evaluation.methods import kept_maps
    from ..evaluation.records import write_records
    from ..grids.report.page import write_report
    from ..training.recipes import recipe_for

    concepts = [load_concept(name) for name in style]
    for concept in concepts:
        check_removal(concept, ways, prompts)
    held_out = {concept.name: prompts_for(concept, model, prompts, count) for concept in concepts}
    check_dial(positions)
    if not dry_run:
        make_folder(out)
    scorer, pipe = session.scorer(session.device, model), session.load(model)
    seed, call = session.seed + 1000, session.arguments
    facts = {"model": model, "strengths": positions, "noise from seed": seed, "scorer": scorer.name, **call}
    records: list[Record] = []
    pictures: Pictures = {}
    shown: dict[str, SteeringMaps] = {}
    configs = {concept.name: recipe_for(pipe, concept, seed=session.seed) for concept in concepts}
    efforts: list[Effort] = []
    for concept in concepts:
        folder, texts = out / "maps" / concept.name, held_out[concept.name]
        efforts += comparison_effort(pipe, ways, concept, configs[concept.name], folder, texts, positions, call)
    with waiting(pipe, efforts, call, dry_run=dry_run):
        for concept in concepts:
            config, texts = configs[concept.name], held_out[concept.name]
            folder = out / "maps" / concept.name
            maps = {name: kept_maps(way, pipe, concept, config, folder) for name, way in ways.items()}
            records += evaluate(
                pipe, maps, concept.texts, texts, strengths=positions, scorer=scorer, calibrated=calibrated,
                judge=judge_of(concept, model), seed=seed,
                on_pictures=keep_first(pictures, concept.name, texts[:SHOWN]), **call,
            )  # fmt: skip
            shown |= {f"{concept.name}, {name}": one for name, one in maps.items() if one is not None}
            write_records(records, out / "evaluation.csv")
            (out / "evaluation.md").write_text(comparison_markdown(records), encoding="utf-8")
    facts["strength"] = {name: one.dial(calibrated).name for name, one in shown.items()}
    page = evaluation_page(records, command=command_line(), pictures=pictures, maps=shown, facts=facts)
    write_report(page, out / "report.html")
    typer.echo(f"look at {out / 'report.html'}\n")
    typer.echo(comparison_markdown(records))
    typer.echo(f"mean [95% interval over prompts]; every picture is a line of {out / 'evaluation.csv'}")


def _named(methods: Sequence[str]) -> dict[str, str]:
    """Methods, and folders of maps, by the name that tables have for them: NAME=FOLDER, or a folder's last part."""
    from ..evaluation.method_names import check_method

    pairs = [split_name(method) for method in methods]
    named = {name or Path(method).name: method for name, method in pairs}
    if len(named) != len(methods):
        raise LineaError(f"got methods {', '.join(methods)}: expected different names; give folders one by NAME=FOLDER")
    for method in named.values():
        if not Path(method).is_dir():
            check_method(method)
    return named
