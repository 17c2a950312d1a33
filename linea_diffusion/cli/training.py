"""Commands that learn: train, calibrate."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import LineaError, TrainingDivergedError, make_folder
from ..maps.facts import Facts
from ..training.state.stopping import STOP, Stopped
from .options import checks
from .options.sessions import Model, ScoredSession, Session
from .options.training import ConceptFiles, TrainingOptions

if TYPE_CHECKING:
    from ..concepts.concept import Concept
    from ..maps.steering_maps import SteeringMaps
    from ..pipelines.pipeline import LinEASDiffusionPipeline
    from ..training.calibration.measures import Measure


def train(
    concept: Annotated[
        str, typer.Argument(help="A concept of `linea concepts`, a .toml, .jsonl or .csv file, or a name for --source.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the maps.")],
    model: Model = "shapeland-unet",
    files: ConceptFiles,
    options: TrainingOptions,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            help="Iterations between states in OUT/checkpoint; a killed training goes on there.",
            callback=checks.at_least(1),
        ),
    ] = 10,
    session: Session,
) -> None:
    """Learn the steering maps of a concept from source and target prompts."""
    learned = files.concept(concept)
    train_maps(session, model, learned, options.arguments(session), out, checkpoint_every=checkpoint_every)


def train_maps(
    session: Session, model: str, concept: Concept, settings: dict[str, Any], out: Path, *, checkpoint_every: int = 10
) -> tuple[LinEASDiffusionPipeline, SteeringMaps]:
    """A pipeline, and the maps of a concept for it, learned, saved and told of; a killed training goes on.

    Raises:
        Stopped: a signal ended the training; what is learned so far is saved.
    """
    from ..training.state.checkpoints import claimed
    from ..training.state.processes import is_main_process

    make_folder(out)
    with claimed(out / "checkpoint") if is_main_process() else nullcontext():
        pipe = session.open(model)
        maps = _trained(pipe, concept, settings, out, checkpoint_every)
    facts = Facts.of(maps.metadata)
    if (after := facts.stopped_after) is not None:
        kept = f"the maps learned so far are in {out}" if after else "nothing is learned yet"
        total = (facts.training or {})["iterations"]
        raise Stopped(f"training stopped after {after} of {total} iterations; {kept}, and the same command goes on")
    STOP.end_gently(STOP.reason)
    return pipe, maps


def _trained(
    pipe: LinEASDiffusionPipeline, concept: Concept, settings: dict[str, Any], out: Path, checkpoint_every: int
) -> SteeringMaps:
    """Maps that are learned and, whatever is learned of them, saved."""
    from ..training.recipes import recipe_for
    from ..training.state.processes import is_main_process
    from ..training.train import train_steering_maps

    config = recipe_for(pipe, concept, **settings)
    try:
        maps = train_steering_maps(
            pipe, concept, config, checkpoint=out / "checkpoint", checkpoint_every=checkpoint_every, stop=STOP
        )
    except TrainingDivergedError as error:
        error.maps.save_pretrained(out)
        raise
    losses, turns = Facts.of(maps.metadata).losses, len(config.strengths)
    if losses and is_main_process():
        maps.save_pretrained(out)
        first, last = (sum(part) / len(part) for part in (losses[:turns], losses[-turns:]))
        typer.echo(
            f"loss {first:.4f} -> {last:.4f} (mean over the strengths); {len(maps.maps)} maps with a support of "
            f"{maps.support:.1%} in {out}"
        )
    return maps


def _concept_of(maps: SteeringMaps, concept: str | None) -> Concept:
    from ..concepts.concept import load_concept

    try:
        return load_concept(concept or Facts.of(maps.metadata).concept or "")
    except LineaError as error:
        if concept:
            raise
        raise LineaError(f"the maps name no concept that is known here; give it with --concept ({error})") from None


def calibrate(
    steering: Annotated[Path, typer.Argument(help="Folder of steering maps; the curve is stored there.")],
    *,
    concept: Annotated[
        str | None, typer.Option(help="Concept by name or file; the one that the maps name when left out.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="clip: the style that CLIP sees; progress: how far latents have gone, which needs no CLIP.",
            callback=checks.one_of("clip", "progress"),
        ),
    ] = "clip",
    points: Annotated[
        int,
        typer.Option(help="Strengths that are measured at most, more where it changes.", callback=checks.at_least(3)),
    ] = 17,
    model: Model = "shapeland-unet",
    session: ScoredSession,
) -> None:
    """Fit the dial of maps so that equal steps of strength look equal: what other commands use from then on."""
    from ..maps.steering_maps import SteeringMaps
    from ..training.calibration.calibrate import calibrate, clip_measure

    maps = SteeringMaps.from_pretrained(steering)
    learned = _concept_of(maps, concept)
    measure: Measure | Literal["progress"] = "progress"
    if by == "clip":
        measure = clip_measure(session.scorer(session.device), learned.texts)
    pipe = session.open(model)
    curve = calibrate(pipe, maps, measure, learned.source, points=points, seed=session.seed + 500, **session.arguments)
    maps.save_pretrained(steering)
    typer.echo("strength  share of the style")
    for strength, value in zip(curve["strengths"], curve["values"], strict=True):
        typer.echo(f"{strength:>8.3f}  {value:.3f}")
