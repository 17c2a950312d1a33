"""The command that learns: train."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LineaError, TrainingDivergedError, ZeroMapsWarning, make_folder
from ..maps.facts import Facts
from ..progress import say
from ..training.state.stopping import STOP, Stopped
from .options import checks
from .options.machines import TEXT_MODEL, Task, makes_texts
from .options.next_steps import quoted, say_next
from .options.sessions import Model, Session
from .options.steering import FIRST_MODEL
from .options.training import ConceptFiles, TrainingOptions
from .options.waiting import Watched, waiting

if TYPE_CHECKING:
    from ..concepts.concept import Concept
    from ..maps.steering_maps import SteeringMaps
    from ..pipelines.language.language_model import LinEASLanguageModel
    from ..pipelines.pipeline import LinEASDiffusionPipeline
    from ..training.config import TrainingConfig
    from ..training.preview import Preview
    from ..training.watching import Callback


def train(
    concept: Annotated[
        str, typer.Argument(help="A concept of `linea concepts`, a .toml, .jsonl or .csv file, or a name for --source.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the maps.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Learn anew although OUT holds maps already, which are replaced.")
    ] = False,
    allow_zeros: Annotated[
        bool, typer.Option("--allow-zeros", help="Maps of zeros only are no failure, as in a search over l1.")
    ] = False,
    model: Model = FIRST_MODEL,
    task: Task = None,
    files: ConceptFiles,
    options: TrainingOptions,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            help="Iterations between states in OUT/checkpoint; a killed training goes on there.",
            callback=checks.at_least(1),
        ),
    ] = 10,
    watched: Watched,
    session: Session,
) -> None:
    """Learn the steering maps of a concept from source and target prompts."""
    from ..steering.language import is_language_model
    from ..training.effort import training_effort

    learned, settings = files.concept(concept), options.arguments(session)
    watched.check()
    if not overwrite and not watched.dry_run:
        _refuse_other_maps(out)
    with alone_in(out, dry_run=watched.dry_run):
        pipe = _opened(session, model, task)
        config = settings_for(pipe, learned, settings)
        pictures = not is_language_model(pipe)
        efforts, preview = training_effort(pipe, learned, config), watched.pictures(out) if pictures else None
        hint = watched.hint(out) if pictures else ""
        with (
            waiting(pipe, efforts, config.call_arguments, dry_run=watched.dry_run, hint=hint),
            watched.tracked(out, learned.name, asdict(config)) as look,
        ):
            maps = train_maps(
                pipe, learned, config, out, checkpoint_every=checkpoint_every, preview=preview, callback=look
            )
    if not (maps.stored or allow_zeros):
        typer.echo(
            f"linea: got maps whose {maps.size} numbers are all zero (in {out}): expected some that act; lower l1 or "
            "group_lasso (--set in --help says where to read of them), or take them as they are with --allow-zeros",
            err=True,
        )
        raise typer.Exit(1)
    prompt, folder = quoted(learned.source[0]), quoted(out)
    share = f"linea push {folder} you/{learned.name.replace(' ', '-')}"
    if not pictures:
        say_next(turn=f"linea generate {prompt} --steering {folder} --strength 0,0.5,1", share=share)
        return
    say_next(
        see=f"linea grid {prompt} --steering {folder} --report --out grid",
        turn=f"linea generate {prompt} --steering {folder} --strength 0.7",
        compare=f"linea evaluate --style {quoted(concept)} --steering {folder} --methods lin-act,prompting"
        if files.source is None
        else "",
        share=f"{share} --prompt {prompt}",
    )


def _opened(session: Session, model: str, task: str | None) -> LinEASDiffusionPipeline | LinEASLanguageModel:
    """The pipeline of --model, or the language model where texts are the task."""
    if makes_texts(task, model):
        return session.load_text(TEXT_MODEL if model == FIRST_MODEL else model)
    return session.load(model)


def _refuse_other_maps(out: Path) -> None:
    """Raise if a folder holds maps and no training that would go on."""
    from ..maps.storage import CONFIG

    if (out / CONFIG).exists() and not (out / "checkpoint").exists():
        raise LineaError(f"got --out {out}, which holds maps already: expected another folder, or --overwrite")


@contextmanager
def alone_in(out: Path, *, dry_run: bool = False) -> Iterator[None]:
    """Within the context a folder is there, and no other training is at work in it; a dry run makes none."""
    from ..training.state.checkpoints import claimed
    from ..training.state.processes import is_main_process

    if dry_run:
        yield
        return
    make_folder(out)
    with claimed(out / "checkpoint") if is_main_process() else nullcontext():
        yield


def settings_for(pipe: Any, concept: Concept, settings: dict[str, Any]) -> TrainingConfig:
    """The settings of a training in full, which choose some modules of the pipeline."""
    from ..steering.presets import find_modules
    from ..training.learning import for_concept
    from ..training.recipes import recipe_for

    config = for_concept(recipe_for(pipe, concept, **settings), concept)
    find_modules(pipe, config.target_modules)
    return config


def train_maps(
    pipe: Any,
    concept: Concept,
    config: TrainingConfig,
    out: Path,
    *,
    checkpoint_every: int = 10,
    preview: Preview | None = None,
    callback: Callback | None = None,
) -> SteeringMaps:
    """The maps of a concept, learned, saved and told of; a killed training goes on.

    Raises:
        Stopped: a signal ended the training; what is learned so far is saved.
    """
    from ..training.state.processes import is_main_process
    from ..training.train import train_steering_maps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZeroMapsWarning)  # the command itself tells
            maps = train_steering_maps(
                pipe, concept, config, checkpoint=out / "checkpoint", checkpoint_every=checkpoint_every, stop=STOP,
                preview=preview, callback=callback,
            )  # fmt: skip
    except TrainingDivergedError as error:
        _save(error.maps, out)
        raise
    facts, turns = Facts.of(maps.metadata), len(config.strengths)
    losses = facts.losses
    if losses and is_main_process():
        _save(maps, out)
        first, last = (sum(part) / len(part) for part in (losses[:turns], losses[-turns:]))
        say(
            f"loss {first:.4f} -> {last:.4f} (mean over the strengths, in {facts.training_seconds:.0f} seconds, see "
            f"losses.svg); {len(maps.maps)} maps with a support of {maps.support:.1%} in {out}"
        )
    if (after := facts.stopped_after) is not None:
        kept = f"the maps learned so far are in {out}" if after else "nothing is learned yet"
        raise Stopped(
            f"training stopped after {after} of {config.iterations} iterations; {kept}, and the same command goes on"
        )
    STOP.end_gently(STOP.reason)
    return maps


def _save(maps: SteeringMaps, out: Path) -> None:
    """Maps, and beside them how their training went."""
    from ..grids.report.training_record import save_losses

    maps.save_pretrained(out)
    if Facts.of(maps.metadata).losses:
        save_losses(maps, out)
