"""How far maps that were learned on pairs should go: to where pictures are nearest to those of the target prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...maps.steering_maps import SteeringMaps
from .measures import latents_of

STRETCHES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)


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
    whole = (before - wanted).norm(dim=-1).clamp_min(1e-12)
    distances = [float(((one - wanted).norm(dim=-1) / whole).mean()) for one in steered]
    return STRETCHES[distances.index(min(distances))]
