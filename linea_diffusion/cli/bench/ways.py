"""The ways that are measured against each other: steered or not, in one batch or call by call, trained in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ...maps.steering_maps import SteeringMaps
from ...pipelines.calling import generators
from ...pipelines.modular import called
from ...pipelines.pipeline import LinEASDiffusionPipeline
from ...steering.affine.affine_map import LOW_RANK
from ...training.config import TrainingConfig
from ...training.diffusion import DiffusionRun
from ...training.iteration import batches_of
from ...training.loss.targets import Target, flattened, law_targets, row_targets
from ...training.runs import Places
from ...training.state.optimizer import MapOptimizer

if TYPE_CHECKING:
    from .bench import BenchConfig

ROW = (0.2, 0.4, 0.6, 0.8, 1.0)
"""The strengths of a row."""
RANDOM_SIZE = 0.02
"""Spread of the numbers of random maps: enough to change a picture, too little to break one."""
TimedJob = Callable[[], Any]


@dataclass(frozen=True)
class Way:
    """One way to do a part's job; the first way of a part is what its others are compared with.

    Attributes:
        part: one of `TIMED`.
        name: of the way.
        ready: a context that prepares and tidies up, and gives the job, which alone is timed.
        refusal: why this way cannot be gone, if it cannot.
    """

    part: str
    name: str
    ready: Callable[[], AbstractContextManager[TimedJob]]
    refusal: str = ""


def ways_of(pipe: LinEASDiffusionPipeline, config: BenchConfig) -> list[Way]:
    """All ways of the config's parts."""
    makers = {"generation": generation_ways, "row": row_ways, "training": training_ways}
    return [way for part in config.timed for way in makers[part](pipe, config)]


def calls_of(pipe: LinEASDiffusionPipeline, config: BenchConfig) -> dict[str, dict[str, Any]]:
    """The arguments of calls: of those that make pictures, and of training's."""
    training = config.training
    steps = {"num_inference_steps": training.num_inference_steps, "guidance_scale": training.guidance_scale}
    return {
        "pictures": {**pipe.default_arguments, **config.schedule, **config.sizes},
        "training": {**steps, **config.sizes},
    }


def generation_ways(pipe: LinEASDiffusionPipeline, config: BenchConfig) -> list[Way]:
    """A batch from the base pipeline, steered, and steered by fused weights."""
    prompts, call = config.prompts, calls_of(pipe, config)["pictures"]

    def job(run: Callable[..., Any]) -> TimedJob:
        seeds = range(config.seed, config.seed + len(prompts))
        return lambda: run(prompts, generator=generators(seeds), **call)

    @contextmanager
    def fused() -> Iterator[TimedJob]:
        pipe.fuse_steering(**config.sizes)
        try:
            yield job(pipe)
        finally:
            pipe.unfuse_steering()

    binned = any(affine.bins > 1 for maps in pipe.steering.values() for _, affine in maps.named_maps())
    return [
        Way("generation", "unsteered", lambda: nullcontext(job(pipe.base))),
        Way("generation", "steered", lambda: nullcontext(job(pipe))),
        Way("generation", "steered by fused weights", fused, "has a map for each part of the schedule" * binned),
    ]


def row_ways(pipe: LinEASDiffusionPipeline, config: BenchConfig) -> list[Way]:
    """One prompt at five strengths: a call for the row, or a call for each, which puts its hooks up anew."""
    prompt, arguments = config.prompts[0], calls_of(pipe, config)["pictures"]

    def call(strength: Any) -> Any:
        return pipe(prompt, strength=strength, generator=generators([config.seed])[0], **arguments)

    return [
        Way("row", "one call with a row of 5 strengths", lambda: nullcontext(lambda: [call(list(ROW))])),
        Way("row", "5 calls", lambda: nullcontext(lambda: [call(strength) for strength in ROW])),
    ]


def training_ways(pipe: LinEASDiffusionPipeline, config: BenchConfig) -> list[Way]:
    """A plain generation as training makes it, and a training iteration in one piece, in two, and checkpointed."""
    half = (config.batch_size + 1) // 2
    pieces: dict[str, dict[str, Any]] = {
        "in one piece": {},
        **({f"in micro-batches of {half}": {"micro_batch_size": half}} if half < config.batch_size else {}),
        "checkpointed": {"gradient_checkpointing": True},
    }
    return iteration_ways(pipe, config.training, config.prompts, pieces)


def iteration_ways(
    pipe: LinEASDiffusionPipeline, training: TrainingConfig, sources: Sequence[str], pieces: Mapping[str, Any]
) -> list[Way]:
    """A plain generation as training makes it, and a training iteration in several ways.

    Args:
        pipe: whose base is trained on.
        training: settings of all ways; what is recorded before the iteration is recorded with them.
        sources: prompts; the targets ask for another style.
        pieces: name of a way -> the settings that it changes.
    """
    run = DiffusionRun(pipe.base, training)
    with batches_of(run, training) as batches:
        sides = {0.0: sources, 1.0: [f"{prompt}, in another style" for prompt in sources]}
        recorded = {side: batches.record(prompts, range(len(prompts))) for side, prompts in sides.items()}
        (target,) = _targets(recorded, training)

    def plain() -> Any:
        return called(pipe.base, list(sources), generator=generators(range(len(sources))), **run.arguments)

    def way(name: str, changed: Mapping[str, Any]) -> Way:
        ready = partial(_iteration, pipe, replace(training, **changed), sources, target, recorded[1.0])
        return Way("training", f"iteration {name}", ready)

    iterations = [way(name, changed) for name, changed in pieces.items()]
    return [Way("training", "generation without gradients", lambda: nullcontext(plain)), *iterations]


def _targets(recorded: Mapping[float, Places], training: TrainingConfig) -> Sequence[Target]:
    if training.pairing == "rows":
        return row_targets(recorded, [1.0], scaled=training.scale_by_variance)
    source, target = (flattened(side) for side in recorded.values())
    return law_targets(source, target, [1.0], scaled=training.scale_by_variance)


@contextmanager
def _iteration(
    pipe: LinEASDiffusionPipeline,
    training: TrainingConfig,
    sources: Sequence[str],
    target: Target,
    recorded: Places,
) -> Iterator[TimedJob]:
    """The first iteration of a training, over and over."""
    with batches_of(DiffusionRun(pipe.base, training), training) as batches:
        maps = batches.fresh_maps(recorded)
        optimizer = MapOptimizer(maps, training)

        def job() -> None:
            batches.gradients(maps, sources, range(len(sources)), target)
            optimizer.step(0)

        yield job


@contextmanager
def maps_in(pipe: LinEASDiffusionPipeline, config: BenchConfig) -> Iterator[None]:
    """Within the context the pipeline has maps: those that are loaded, or dense random ones on the config's modules."""
    if pipe.steering:
        yield
        return
    pipe.load_steering(random_maps(pipe, config), adapter_name="random")
    try:
        yield
    finally:
        pipe.unload_steering("random")


def random_maps(pipe: LinEASDiffusionPipeline, config: BenchConfig) -> SteeringMaps:
    """Dense maps with small random numbers on the config's modules, found by one denoising step."""
    training = replace(config.training, num_inference_steps=1)
    with batches_of(DiffusionRun(pipe.base, training), training) as batches:
        maps = batches.fresh_maps(batches.samples(config.prompts[:1]))
    rng = torch.Generator().manual_seed(config.seed)
    for _, affine in maps.named_maps():
        for part, numbers in affine.tensors().items():
            if part != LOW_RANK[1]:  # V is drawn already, and its size is U's affair
                numbers.data.copy_(RANDOM_SIZE * torch.randn(numbers.shape, generator=rng))
    return maps.requires_grad_(False)
