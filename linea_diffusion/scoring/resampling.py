"""Figures of ways to steer at equal amount of style, with intervals over prompts and seeds. NumPy only.

Each figure is known of the pictures as they are and of resamples of their prompts (and training seeds), as an array
(1 + resamples,), the figure itself first. Differences and means over styles are those of the arrays, because the same
prompts are drawn for all dials; `interval` reads the figure and its bootstrap interval off them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import LineaError, short
from .equal_amount import MOST, area_over_amount, at_position, largest_step, position_at
from .statistics import Array, gap_deviation, spearman

Samples = dict[str, Array]
"""Figure -> (1 + resamples,): of the pictures as they are, then of each resample."""

LEVELS = (0.85, MOST)
"""Amounts of style at which methods are compared."""


@dataclass(frozen=True)
class MeasuredDial:
    """What n pictures show at the k positions of a method's dial.

    Attributes:
        strengths: (k,), ascending; one position is a method without a dial, such as asking in words.
        amount: (n, k), of style, in [0, 1].
        kept: name -> (n, k), what shall stay as it is, such as object right and colour right, in [0, 1].
        prompts: (n,), prompt of each picture; pictures of one prompt are drawn together.
        seeds: (n,), training seed of each picture's maps; None if there is but one.

    Raises:
        LineaError: arrays of other shapes, or strengths that do not ascend.
    """

    strengths: Sequence[float]
    amount: Array
    kept: Mapping[str, Array]
    prompts: Sequence[str]
    seeds: Sequence[int] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.prompts), len(self.strengths))
        got = [np.shape(values) for values in (self.amount, *self.kept.values())]
        labels = len(self.prompts if self.seeds is None else self.seeds)
        if set(got) != {shape} or 0 in shape or labels != shape[0] or not self.kept:
            raise LineaError(
                f"got figures of shapes {short(got)} and {labels} seeds for {shape[0]} pictures at {shape[1]} "
                "positions: expected amount and something kept, one number for each picture and position"
            )
        if any(np.diff(self.strengths) <= 0):
            raise LineaError(f"got strengths {short(self.strengths)}: expected ascending ones")

    @property
    def turns(self) -> bool:
        """Whether there is more than one position."""
        return len(self.strengths) > 1


def dial_samples(
    dial: MeasuredDial, *, levels: Sequence[float] = LEVELS, resamples: int = 2000, seed: int = 0
) -> Samples:
    """All figures of a dial with more than one position.

    Args:
        dial: of one method and style.
        levels: amounts of style.
        resamples: how many.
        seed: of the resampling; the same seed draws the same prompts for every dial of those prompts.

    Returns:
        ``most``: the largest mean amount;
        ``NAME at LEVEL``: what is kept where the mean amount first reaches the level, NaN if it never does;
        ``area of NAME``: `area_over_amount` of the mean curves;
        ``largest step``: of the mean amount, as a share of its whole rise;
        ``step of a picture``: median over pictures of each picture's largest step as a share of its rise;
        ``spearman``: mean over pictures of the rank correlation of strength and amount;
        ``gap deviation``: standard deviation of the mean amount's gaps over their mean.
    """
    weights = _drawn(dial.prompts, dial.seeds, resamples, seed)
    amount = _means(weights, dial.amount)
    kept = {name: _means(weights, values) for name, values in dial.kept.items()}
    places = {level: position_at(amount, np.full(len(amount), level)) for level in levels}
    ranks = spearman(dial.strengths, dial.amount)[:, None]
    return {
        "most": amount.max(axis=-1),
        **{f"{name} at {level:g}": at_position(kept[name], places[level]) for level in levels for name in kept},
        **{f"area of {name}": area_over_amount(amount, values, to=max(levels)) for name, values in kept.items()},
        "largest step": largest_step(amount),
        "step of a picture": _medians(weights, largest_step(dial.amount)),
        "spearman": _means(weights, ranks)[:, 0],
        "gap deviation": gap_deviation(dial.strengths, amount),
    }


def point_samples(dial: MeasuredDial, *, resamples: int = 2000, seed: int = 0) -> Samples:
    """Mean ``amount``, and mean of each thing kept by its name, at the last position of a dial."""
    weights = _drawn(dial.prompts, dial.seeds, resamples, seed)
    return {name: _means(weights, v)[:, -1] for name, v in {"amount": dial.amount, **dial.kept}.items()}


def paired_differences(
    dial: MeasuredDial, other: MeasuredDial, *, levels: Sequence[float] = LEVELS, resamples: int = 2000, seed: int = 0
) -> Samples:
    """Figures of a dial minus those of another, the same prompts (and seeds, where equal) drawn for both.

    Returns:
        As `dial_samples`. If `other` has one position, ``NAME at its amount``: what `dial` keeps where its mean amount
        reaches that of `other`, minus what `other` keeps. NaN where one of them does not reach the amount.

    Raises:
        LineaError: dials of other prompts, or a `dial` of one position.
    """
    if set(dial.prompts) != set(other.prompts) or not dial.turns:
        raise LineaError(
            f"got dials of {len(set(dial.prompts))} and {len(set(other.prompts))} prompts and {len(dial.strengths)} "
            "positions: expected the same prompts, and several positions of the first"
        )
    draws = {"resamples": resamples, "seed": seed}
    if other.turns:
        figures, others = (dial_samples(each, levels=levels, **draws) for each in (dial, other))
        with np.errstate(invalid="ignore"):  # infinite steps of both
            return {name: figures[name] - others[name] for name in figures}
    weights, point = _drawn(dial.prompts, dial.seeds, resamples, seed), point_samples(other, **draws)
    place = position_at(_means(weights, dial.amount), point["amount"])
    return {
        f"{name} at its amount": at_position(_means(weights, values), place) - point[name]
        for name, values in dial.kept.items()
    }


def interval(samples: Array, *, level: float = 0.95) -> tuple[float, float, float]:
    """A figure with its percentile bootstrap interval: (value, low, high).

    Args:
        samples: (1 + resamples,), the figure first. An amount that only some resamples reach has the interval over
            those.
        level: of the interval.

    Returns:
        All three NaN for a figure that is unknown.
    """
    values = samples[1:][~np.isnan(samples[1:])]
    if np.isnan(samples[0]) or not len(values):
        return float("nan"), float("nan"), float("nan")
    # "nearest": an infinite sample is never mixed with another
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return float(samples[0]), float(low), float(high)


def mean_interval(
    values: Array, prompts: Sequence[str], seeds: Sequence[int] | None = None, *, resamples: int = 2000
) -> tuple[float, float, float]:
    """Mean of (n,) with its 95% bootstrap interval over prompts (n,) and, where given, training seeds (n,)."""
    column = np.asarray(values, dtype=float)[:, None]
    return interval(_means(_drawn(prompts, seeds, resamples, 0), column)[:, 0])


def _drawn(prompts: Sequence[str], seeds: Sequence[int] | None, resamples: int, seed: int) -> Array:
    """How often each picture is drawn, (1 + resamples, n): once each in the first row."""
    weights = np.ones((1 + resamples, len(prompts)))
    for number, labels in enumerate((prompts, seeds)):
        if labels is not None:
            # Prompts and seeds have streams of their own, so that other seeds leave the prompts that are drawn alone.
            weights[1:] *= _counts(labels, resamples, np.random.default_rng([seed, number]))
    return weights


def _counts(labels: Sequence[Hashable], resamples: int, rng: np.random.Generator) -> Array:
    _, unit = np.unique(np.asarray(labels), return_inverse=True)
    units = unit.max() + 1
    return rng.multinomial(units, np.full(units, 1 / units), size=resamples)[:, unit]


def _means(weights: Array, values: Array) -> Array:
    """Weighted means of (n, k) over pictures: (1 + resamples, k)."""
    return weights @ np.asarray(values, dtype=float) / weights.sum(axis=-1, keepdims=True)


def _medians(weights: Array, values: Array) -> Array:
    """Weighted medians of (n,): (1 + resamples,), the mean of both middle ones where there are two."""
    order = np.argsort(values)
    below, half = weights[:, order].cumsum(axis=-1), weights.sum(axis=-1, keepdims=True) / 2
    low, high = (values[order][reached.argmax(axis=-1)] for reached in (below >= half, below > half))
    return (low + high) / 2
