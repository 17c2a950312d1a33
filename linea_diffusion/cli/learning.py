"""Commands that learn: demo, train, calibrate."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import LineaError
from ..maps.facts import Facts
from ..training.stopping import STOP, Stopped
from . import checks
from .grids import print_scores
from .options import (
    Clip,
    ClipSet,
    ClipWeights,
    Device,
    Dtype,
    Guidance,
    Model,
    Seed,
    Steps,
    call_arguments,
    open_concept,
    open_pipeline,
    open_scorer,
    training_settings,
)

if TYPE_CHECKING:
    from ..concepts.concept import Concept
    from ..maps.steering_maps import SteeringMaps
    from ..pipelines.pipeline import LinEASDiffusionPipeline
    from ..training.calibration.measures import Measure


def demo(
    style: Annotated[
        str, typer.Option(help="A concept of `linea concepts`, or a .toml, .jsonl or .csv file.")
    ] = "neon",
    out: Annotated[Path, typer.Option(help="Folder for report.html, grid.png, scores.csv and maps/.")] = Path("demo"),
    seed: Seed = 0,
    model: Annotated[str, typer.Option(help="An embedded model.")] = "shapeland-unet",
) -> None:
    """Learn one style on the embedded model and render a scored grid. Nothing is downloaded."""
    from .demo import run_demo

    print_scores(run_demo(style, out, seed=seed, model=model, stop=STOP))
    typer.echo(f"\nturn the dial in {out / 'report.html'}, look at {out / 'grid.png'}")
    typer.echo(f"scores in {out / 'scores.csv'}, maps in {out / 'maps'}")


def train(
    concept: Annotated[
        str, typer.Argument(help="A concept of `linea concepts`, a .toml, .jsonl or .csv file, or a name for --source.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the maps.")],
    model: Model = "shapeland-unet",
    source: Annotated[Path | None, typer.Option(help="Text file with one source prompt per line.")] = None,
    target: Annotated[Path | None, typer.Option(help="Text file with one target prompt per line.")] = None,
    template: Annotated[
        str | None, typer.Option(help="Makes the targets from --source, as '{prompt}, neon': pairs, without --target.")
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(help="Less of --template, as 0.5='{prompt}, slightly neon'; may be repeated."),
    ] = None,
    modules: Annotated[list[str] | None, typer.Option(help="Preset or pattern; may be repeated.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Source prompts per iteration; --set batch_size=None: all.")
    ] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option(help="Prompts at once: less memory, more time, the same gradients.")
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="Of the low-rank part of each map; 0: coordinate by coordinate.")
    ] = None,
    sparsity: Annotated[float | None, typer.Option(help="Share of the maps' numbers that shall be zero.")] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate/--no-calibrate", help="Fit the dial when training ends, so that steps look equal."),
    ] = True,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, as optimizer=sgd; may be repeated.")
    ] = None,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            help="Iterations between states in OUT/checkpoint; a killed training goes on there.",
            callback=checks.at_least(1),
        ),
    ] = 10,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Learn the steering maps of a concept from source and target prompts."""
    from ..errors import make_folder
    from ..training.checkpoints import claimed
    from ..training.processes import is_main_process

    learned = open_concept(concept, source, target, template, level or ())
    given = training_settings(
        settings or [],
        iterations=iterations,
        lr=lr,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        rank=rank,
        sparsity=sparsity,
        calibrate=None if calibrate else False,
        num_inference_steps=steps,
        guidance_scale=guidance,
        target_modules=tuple(modules) if modules else None,
        seed=seed,
    )
    make_folder(out)
    with claimed(out / "checkpoint") if is_main_process() else nullcontext():
        maps = _trained(open_pipeline(model, device, dtype), learned, given, out, checkpoint_every)
    facts = Facts.of(maps.metadata)
    if facts.stopped_after is not None:
        kept = f"the maps learned so far are in {out}" if facts.stopped_after else "nothing is learned yet"
        total = (facts.training or {})["iterations"]
        raise Stopped(
            f"training stopped after {facts.stopped_after} of {total} iterations; {kept}, and the same command goes on"
        )


def _trained(
    pipe: LinEASDiffusionPipeline, concept: Concept, given: dict[str, Any], out: Path, checkpoint_every: int
) -> SteeringMaps:
    """Maps that are learned and, whatever is learned of them, saved."""
    from ..errors import TrainingDivergedError
    from ..training.processes import is_main_process
    from ..training.recipes import recipe_for
    from ..training.train import train_steering_maps

    config = recipe_for(pipe, concept, **given)
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


_MEASURES = ("clip", "progress")


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
    concept: Annotated[
        str | None, typer.Option(help="Concept by name or file; the one that the maps name when left out.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(help="clip: the style that CLIP sees; progress: how far latents have gone, which needs no CLIP."),
    ] = "clip",
    points: Annotated[
        int,
        typer.Option(help="Strengths that are measured at most, more where it changes.", callback=checks.at_least(3)),
    ] = 17,
    model: Model = "shapeland-unet",
    steps: Steps = None,
    guidance: Guidance = None,
    clip: Clip = "shapeland-clip",
    clip_weights: ClipWeights = None,
    clip_set: ClipSet = [],  # noqa: B006
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Fit the dial of maps so that equal steps of strength look equal: what other commands use from then on."""
    from ..maps.steering_maps import SteeringMaps
    from ..training.calibration.calibrate import calibrate, clip_measure

    if by not in _MEASURES:
        raise LineaError(f"got --by {by!r}: expected one of {', '.join(_MEASURES)}")
    maps = SteeringMaps.from_pretrained(steering)
    learned = _concept_of(maps, concept)
    measure: Measure | Literal["progress"] = "progress"
    if by == "clip":
        measure = clip_measure(open_scorer(clip, clip_weights, device, clip_set), learned.texts)
    pipe = open_pipeline(model, device, dtype)
    curve = calibrate(
        pipe, maps, measure, learned.source, points=points, seed=seed + 500, **call_arguments(steps, guidance)
    )
    maps.save_pretrained(steering)
    typer.echo("strength  share of the style")
    for strength, value in zip(curve["strengths"], curve["values"], strict=True):
        typer.echo(f"{strength:>8.3f}  {value:.3f}")
