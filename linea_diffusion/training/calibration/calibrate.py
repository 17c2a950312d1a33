"""Make equal steps of strength look like equal steps of style.

Strength is a share of the way in activations; what the eye sees of it is another matter. `calibrate` measures what is
seen at some strengths, more of them where it changes most, makes the mean curve monotone, and stores it with the maps.
Strengths are then read on that curve (`linea_diffusion.steering.dial`), unless ``calibrated=False``. 0 and 1 stay what
they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from ...concepts.notices import noticing
from ...errors import LineaError, as_whole, check_seed, short
from ...maps.facts import Facts
from ...maps.steering_maps import SteeringMaps
from ...pipelines.rendering.requests import check_arguments
from ...progress import stage
from .measures import Measure, Reading, clip_measure, picture_measure, progress_measure

__all__ = ["calibrate", "calibrate_progress", "clip_measure", "isotonic"]

FINEST = 1 / 64
"""Strengths that are measured are never closer."""
ENOUGH = 0.05
"""A gap between them that holds no more of the whole change is not divided."""


def calibrate(
    pipe: Any,
    maps: SteeringMaps,
    measure: Measure | Literal["progress"],
    prompts: Sequence[str],
    *,
    name: str | None = None,
    points: int = 17,
    seed: int = 500,
    batch_size: int = 32,
    **arguments: Any,
) -> dict[str, Any]:
    """Fit the dial of a set of maps, and store it in ``maps.metadata["calibration"]``.

    Strengths are measured where the change is: a few at first, then in the middle of the gap with the largest change,
    until no gap between two of them holds more than `ENOUGH` of the whole, or `points` are used.

    Args:
        pipe: a `LinEASDiffusionPipeline`, or any diffusers pipeline.
        maps: to be calibrated.
        measure: pictures -> amount of style (n,), any unit, see `clip_measure`; or ``"progress"``, the share of the way
            from each unsteered picture to the one at full strength, which needs nothing else (`progress_measure`).
        prompts: without the concept, such as the concept's own source prompts.
        name: of the measure, stored beside the curve.
        points: strengths that are measured at most, 0 and 1 among them.
        seed: prompt number i has noise seed + i at every strength.
        batch_size: pictures at once.
        **arguments: of the pipeline's calls.

    Returns:
        The curve: ``strengths`` that rise from 0 to 1, ``values`` (the mean amount, made monotone and scaled to [0, 1])
        and ``measure``.

    Raises:
        LineaError: fewer than 3 points, no prompts, an argument that rendering sets itself, or maps at whose strength 1
            there is no more style than at 0.
    """
    count = as_whole(points)
    if count is None or count < 3 or not prompts:
        raise LineaError(
            f"got {short(points)} points and {len(prompts)} prompts: expected at least 3 points and some prompts"
        )
    if isinstance(measure, str) and measure != "progress":
        raise LineaError(
            f"got measure {measure!r}: expected 'progress', or a function of pictures such as clip_measure"
        )
    seed, base = check_seed(seed), getattr(pipe, "base", pipe)
    settings = {**getattr(pipe, "default_arguments", {}), **arguments}
    subject = base, maps, list(prompts), range(seed, seed + len(prompts))
    with noticing(base, prompts, hint=False):  # a concept that has them from files has told
        if callable(measure):
            check_arguments(arguments)
            name = name or "CLIP cosine, style minus neutral"
            read, at_once = picture_measure(*subject, measure, batch_size=batch_size, **settings), 1
        else:
            name = name or "progress of latents"
            read = progress_measure(*subject, batch_size=batch_size, **settings)
            at_once = max(1, batch_size // len(prompts))
        means = _measure(read, count, at_once)
    strengths, rising = list(means), isotonic(np.array(list(means.values())))
    if not rising[-1] > rising[0]:
        raise LineaError(
            f"got maps with {means[0.0]:.4f} of the style at strength 0 and {means[1.0]:.4f} at 1 by {name}: expected "
            "a rise; train the maps longer, or measure what they are for"
        )
    values = (rising - rising[0]) / (rising[-1] - rising[0])
    curve = {"strengths": strengths, "values": values.round(6).tolist(), "measure": name}
    maps.metadata |= Facts(calibration=curve).as_metadata()
    return curve


def calibrate_progress(
    pipe: Any,
    maps: SteeringMaps,
    prompts: Sequence[str],
    *,
    seed: int = 500,
    points: int = 9,
    batch_size: int = 32,
    **arguments: Any,
) -> dict[str, Any]:
    """`calibrate` by the progress of latents, in few calls: several strengths of all prompts are rows of one batch.

    Nine points of eight prompts are three or four batches of 32 rows or fewer, without decoding a picture.

    Args:
        pipe: a `LinEASDiffusionPipeline`, or any diffusers pipeline.
        maps: to be calibrated.
        prompts: without the concept.
        seed: prompt number i has noise seed + i at every strength.
        points: strengths that are measured at most.
        batch_size: rows at once.
        **arguments: of the pipeline's calls.

    Returns:
        The curve, as `calibrate`.

    Raises:
        LineaError: as `calibrate`.
    """
    return calibrate(pipe, maps, "progress", prompts, points=points, seed=seed, batch_size=batch_size, **arguments)


def _measure(read: Reading, points: int, at_once: int) -> dict[float, float]:
    """Strength -> mean amount, ascending, at up to `points` strengths, of which up to `at_once` are read together."""
    means: dict[float, float] = {}
    first = np.linspace(0, 1, 5 if points >= 5 else 3).tolist()
    rounds = [first[start : start + at_once] for start in range(0, len(first), at_once)]
    with stage("calibrate", points, unit="strength") as going:
        while rounds:
            some = rounds.pop(0)
            means.update(zip(some, map(float, read(some).mean(axis=1)), strict=True))
            going.update(len(some))
            if not rounds and (more := next_strengths(means, min(at_once, points - len(means)))):
                rounds.append(more)
    return dict(sorted(means.items()))


def next_strengths(means: Mapping[float, float], count: int) -> list[float]:
    """The middles of the gaps that hold most of the change; a gap that is divided counts as two of half its change.

    Args:
        means: strength -> mean amount, from 0 to 1.
        count: how many at most.
    """
    strengths = sorted(means)
    rising = isotonic(np.array([means[one] for one in strengths]))
    gaps = [
        (high - low, left, right)
        for (low, high), (left, right) in zip(pairwise(rising.tolist()), pairwise(strengths), strict=True)
    ]
    least, middles = ENOUGH * (rising[-1] - rising[0]), []
    for _ in range(count):
        wide = [gap for gap in gaps if gap[0] > least and gap[2] - gap[1] >= 2 * FINEST]
        if not wide:
            break
        change, left, right = max(wide, key=lambda gap: (gap[0], -gap[1]))
        middle = (left + right) / 2
        gaps.remove((change, left, right))
        gaps += [(change / 2, left, middle), (change / 2, middle, right)]
        middles.append(middle)
    return sorted(middles)


def isotonic(values: np.ndarray) -> np.ndarray:
    """The non-decreasing sequence nearest to `values` in the mean square, by pooling adjacent violators."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        mean, count = value, 1
        while blocks and blocks[-1][0] >= mean:
            before, size = blocks.pop()
            mean, count = (before * size + mean * count) / (size + count), size + count
        blocks.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in blocks])
