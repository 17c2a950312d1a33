"""The command that compares ways to steer: evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LineaError, make_folder
from ..steering.parsing import parse_seeds, parse_strengths
from .options import checks
from .options.machines import TEXT_MODEL, Task, makes_texts
from .options.sessions import Model, Plots, ScoredSession, command_line
from .options.steering import FIRST_MODEL, Calibrated, split_name, strength_option
from .options.waiting import DryRun, waiting

if TYPE_CHECKING:
    from ..concepts.concept import Concept
    from ..evaluation.records import Record
    from ..evaluation.ways import Methods
    from ..grids.report.page import Page
    from ..maps.steering_maps import SteeringMaps
    from ..training.effort import Effort


def evaluate(
    *,
    style: Annotated[list[str], typer.Option(help="Concept, by name or file; may be repeated.")],
    methods: Annotated[
        str, typer.Option(help="Names with commas, or folders of maps; NAME=FOLDER names one in tables.")
    ] = "lineas,lin-act,gaussian-act,mean-shift,prompting",
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Training seeds, as 0,1,2: each method is trained and judged with every one; --seed if left out."
        ),
    ] = None,
    steering: Annotated[
        list[str], typer.Option(help="Folder of maps as one more method, or NAME=FOLDER; may be repeated.")
    ] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder for report.html, evaluation.csv, evaluation.md and maps/.")] = Path(
        "evaluation"
    ),
    prompts: Annotated[Path | None, typer.Option(help="Text file with one held-out prompt per line.")] = None,
    count: Annotated[int, typer.Option(help="How many held-out prompts.", callback=checks.at_least(1))] = 64,
    plots: Plots = None,
    shown: Annotated[
        int, typer.Option(help="Prompts of each style that the report shows.", callback=checks.at_least(0))
    ] = 6,
    strengths: Annotated[str, strength_option("The dial's positions")] = ("0,0.125,0.25,0.375,0.5,0.625,0.75,0.875,1"),
    calibrated: Calibrated = None,
    model: Model = FIRST_MODEL,
    task: Task = None,
    dry_run: DryRun = False,
    session: ScoredSession,
) -> None:
    """Compare ways to steer on held-out prompts, with 95% intervals over prompts and training seeds.

    Maps in OUT/maps are used, not fitted again, so that the same command goes on where it was stopped.
    """
    ways, positions = _named([*methods.split(","), *steering]), parse_strengths(strengths)
    trainings = parse_seeds(seeds) if seeds else [session.seed]
    if makes_texts(task, model):
        if dry_run or calibrated:
            raise LineaError(
                "got --dry-run or --calibrated with a language model: expected neither; they are for pictures"
            )
        name = TEXT_MODEL if model == FIRST_MODEL else model
        page, told = _texts(
            ways, _held_out_texts(style, name, prompts, count), positions, trainings, name, session, out, shown
        )
        _finish(page, told, out, plots)
        return
    from ..concepts.concept import load_concept
    from ..evaluation.comparison import comparison_markdown
    from ..evaluation.effort import comparison_effort
    from ..evaluation.evaluate import Pictures, check_dial, evaluate, keep_first
    from ..evaluation.evaluation_page import evaluation_page
    from ..evaluation.held_out import check_removal, judge_of, prompts_for
    from ..evaluation.methods import maps_by_seed
    from ..evaluation.records import write_records

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
    used: dict[str, SteeringMaps] = {}
    efforts: list[Effort] = []
    for concept in concepts:
        folder, texts = out / "maps" / concept.name, held_out[concept.name]
        efforts += comparison_effort(pipe, ways, concept, folder, texts, positions, call, seeds=trainings)
    with waiting(pipe, efforts, call, dry_run=dry_run):
        for concept in concepts:
            folder, texts = out / "maps" / concept.name, held_out[concept.name]
            maps = {name: maps_by_seed(way, pipe, concept, folder) for name, way in ways.items()}
            records += evaluate(
                pipe, maps, concept.texts, texts, strengths=positions, scorer=scorer, calibrated=calibrated,
                judge=judge_of(concept, model), seed=seed, seeds=trainings,
                on_pictures=keep_first(pictures, concept.name, texts[:shown]), **call,
            )  # fmt: skip
            used |= _used(maps, concept.name, trainings[0])
            write_records(records, out / "evaluation.csv")
            (out / "evaluation.md").write_text(comparison_markdown(records), encoding="utf-8")
    facts["strength"] = {name: one.dial(calibrated).name for name, one in used.items()}
    page = evaluation_page(records, command=command_line(), pictures=pictures, maps=used, facts=facts)
    _finish(page, comparison_markdown(records), out, plots)


def _finish(page: Page, told: str, out: Path, plots: str | None) -> None:
    """Write the report, and say what it found."""
    from ..grids.report.page import save_plots, write_report

    write_report(page, out / "report.html")
    if plots:
        save_plots(page, out / "plots", f".{plots}")
    typer.echo(f"look at {out / 'report.html'}\n")
    typer.echo(told)
    typer.echo(
        f"mean [95% interval over prompts and training seeds]; each line of {out / 'evaluation.csv'} is one sample"
    )


def _held_out_texts(
    styles: Sequence[str], model: str, prompts: Path | None, count: int
) -> list[tuple[Concept, Sequence[str]]]:
    """Concepts with the prompts that a language model is judged on."""
    from ..concepts.concept import load_concept
    from ..evaluation.held_out import text_prompts_for

    return [(one, text_prompts_for(one, model, prompts, count)) for one in map(load_concept, styles)]


def _texts(
    ways: Mapping[str, str], held_out: Sequence[tuple[Concept, Sequence[str]]], positions: Sequence[float],
    seeds: Sequence[int], model: str, session: ScoredSession, out: Path, shown: int,
) -> tuple[Page, str]:  # fmt: skip
    """Compare ways to steer a language model: the report, and its tables."""
    from ..evaluation.comparison import texts_markdown
    from ..evaluation.evaluate import check_dial, keep_first
    from ..evaluation.evaluation_page import evaluation_page
    from ..evaluation.methods import maps_by_seed
    from ..evaluation.records import write_records
    from ..evaluation.texts import Texts, evaluate_texts
    from ..shapeland.wordland.judge import ATTRIBUTES, judge_of

    check_dial(positions)
    make_folder(out)
    lm, seed = session.load_text(model), session.seed + 1000
    facts = {"model": model, "strengths": positions, "sampling from seed": seed}
    records: list[Record] = []
    written: Texts = {}
    used: dict[str, SteeringMaps] = {}
    for concept, texts in held_out:
        known = model == TEXT_MODEL and concept.name in ATTRIBUTES
        maps = {name: maps_by_seed(way, lm, concept, out / "maps" / concept.name) for name, way in ways.items()}
        records += evaluate_texts(
            lm, maps, concept.name, texts, strengths=positions, words=f"note : be {concept.name} . ", seed=seed,
            seeds=seeds, judge=judge_of(concept.name) if known else None,
            on_texts=keep_first(written, concept.name, texts[:shown]),
        )  # fmt: skip
        used |= _used(maps, concept.name, seeds[0])
        write_records(records, out / "evaluation.csv")
        (out / "evaluation.md").write_text(texts_markdown(records), encoding="utf-8")
    page = evaluation_page(records, command=command_line(), texts=written, maps=used, facts=facts)
    return page, texts_markdown(records)


def _used(maps: Methods, concept: str, seed: int) -> dict[str, SteeringMaps]:
    """The maps of a concept that the report shows: those of one training seed."""
    first = {name: one(seed) if callable(one) else one for name, one in maps.items()}
    return {f"{concept}, {name}": one for name, one in first.items() if one is not None}


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
