"""How training ends: how far maps go at strength 1, and a dial on which equal steps look equal."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ...concepts.concept import Concept
from ...errors import LineaError
from ...maps.facts import Facts
from ...maps.steering_maps import SteeringMaps
from ...progress import stage
from ..config import TrainingConfig
from ..learning import stretched
from .calibrate import calibrate_progress
from .measures import latents_of

STRETCHES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
CALIBRATED = 8
"""Source prompts on which a dial is calibrated when training ends."""


def with_even_dial(
    pipe: Any, learned: SteeringMaps, concept: Concept, config: TrainingConfig, arguments: Mapping[str, Any]
) -> SteeringMaps:
    """Maps as users get them: stretched, with a calibrated dial. After a stop they are as they are.

    Args:
        pipe: a diffusers pipeline.
        learned: maps, as training leaves them.
        concept: that they learned.
        config: stretch, calibrate, pairing, batch sizes, seed.
        arguments: of the pipeline's calls.
    """
    stretch = config.stretch or 1.0
    if Facts.of(learned.metadata).stopped_after is not None:
        return stretched(learned, stretch)
    prompts, target = (list(side[:CALIBRATED]) for side in (concept.source, concept.target))
    first = config.seed * 1_000_003
    options = {"batch_size": config.micro_batch_size or max(config.batch_size or 0, CALIBRATED), **arguments}
    try:
        if config.stretch is None and config.pairing == "rows":
            seeds = range(first, first + len(prompts))
            with stage("reach", 1):
                stretch = reach_of(pipe, stretched(learned, 1.0), prompts, target, seeds, **options)
        maps = stretched(learned, stretch)
        if config.calibrate:
            calibrate_progress(pipe, maps, prompts, seed=first, **options)
    except (LineaError, KeyboardInterrupt) as error:
        warnings.warn(f"the dial is not calibrated: {error or 'interrupted'}", stacklevel=3)
        return stretched(learned, stretch)
    return maps


def reach_of(
    pipe: Any,
    maps: SteeringMaps,
    source: Sequence[str],
    target: Sequence[str],
    seeds: Sequence[int],
    *,
    batch_size: int = 32,
    **arguments: Any,
) -> float:
    """The one of `STRETCHES` at which steered pictures of the sources are nearest to pictures of the targets.

    Near is the mean over pairs of |x_s - y| / |x_0 - y| on latents, with the same noise for x and y.

    Args:
        pipe: a diffusers pipeline.
        maps: that steer it.
        source: n prompts.
        target: n prompts, of the same contents.
        seeds: n seeds.
        batch_size: pictures at once.
        **arguments: of the pipeline's calls.

    Raises:
        LineaError: numbers that are not finite.
    """
    rows = [(prompt, seed, 0.0) for prompt, seed in zip(target, seeds, strict=True)]
    rows += [(prompt, seed, s) for s in (0.0, *STRETCHES) for prompt, seed in zip(source, seeds, strict=True)]
    wanted, before, *steered = latents_of(pipe, maps, rows, batch_size, arguments).unflatten(0, (-1, len(source)))
    distance = (before - wanted).norm(dim=-1).clamp_min(1e-12)
    distances = [float(((one - wanted).norm(dim=-1) / distance).mean()) for one in steered]
    return STRETCHES[distances.index(min(distances))]
