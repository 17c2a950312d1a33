"""Curves of a dial at an equal amount of style; an equal strength means another thing to each method. NumPy only."""

from __future__ import annotations

import numpy as np

from .statistics import Array

MOST = 0.95
"""The largest amount of style that methods are compared at; pictures asked for in words show hardly more."""


def position_at(amount: Array, level: float | Array) -> Array:
    """Where along a dial the amount first reaches a level, between positions linearly.

    Args:
        amount: (..., k).
        level: a number or (...).

    Returns:
        (...), from 0 (the first position) to k - 1; NaN where it is not reached.
    """
    amount, level = np.asarray(amount, dtype=float), np.asarray(level, dtype=float)
    reached = amount >= level[..., None]
    after = reached.argmax(axis=-1)
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(amount, at[..., None], axis=-1)[..., 0] for at in (before, after))
    share = np.divide(level - low, high - low, out=np.zeros_like(low), where=after > 0)
    return np.where(reached.any(axis=-1), before + share, np.nan)


def at_position(values: Array, position: Array) -> Array:
    """Figures (..., k) at positions (...) of the dial, between positions linearly; NaN at a position of NaN."""
    values, position = np.asarray(values, dtype=float), np.asarray(position, dtype=float)
    place = np.where(np.isnan(position), 0, position)
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, values.shape[-1] - 1)
    low, high = (np.take_along_axis(values, at[..., None], axis=-1)[..., 0] for at in (before, after))
    return np.where(np.isnan(position), np.nan, low + (place - before) * (high - low))


def area_over_amount(amount: Array, kept: Array, *, to: float = MOST) -> Array:
    """Mean of what is kept over all amounts from 0 to `to`, each read where the amount is first reached.

    Amounts below that of the first position count as the first position, amounts beyond the dial's reach count 0.

    Args:
        amount: (..., k).
        kept: (..., k), in [0, 1].
        to: the largest amount.

    Returns:
        (...), in [0, 1]; 1 if all is kept and `to` is reached.
    """
    amount, kept = np.asarray(amount, dtype=float), np.asarray(kept, dtype=float)
    most = np.maximum.accumulate(amount, axis=-1)
    # Of each step of the dial only the part that goes beyond all before counts: from `start` to `end`.
    start, end = np.minimum(most[..., :-1], to), np.minimum(most[..., 1:], to)
    rise = np.diff(amount, axis=-1)
    slope = np.divide(np.diff(kept, axis=-1), rise, out=np.zeros_like(rise), where=rise > 0)
    middle = kept[..., :-1] + slope * ((start + end) / 2 - amount[..., :-1])
    first = np.clip(amount[..., 0], 0, to) * kept[..., 0]
    return (first + ((end - start) * middle).sum(axis=-1)) / to


def largest_step(scores: Array) -> Array:
    """Largest step between neighbouring positions as a share of the whole rise: 1/(k - 1) is even, 1 is a switch.

    Args:
        scores: (..., k), k >= 2.

    Returns:
        (...); above 1 for a curve that overshoots, infinite for one that ends no higher than it began.
    """
    scores = np.asarray(scores, dtype=float)
    most, rise = np.diff(scores, axis=-1).max(axis=-1), scores[..., -1] - scores[..., 0]
    return np.divide(most, rise, out=np.full_like(rise, np.inf), where=rise > 0)
