"""Figures of a dial and their uncertainty: rank correlation, evenness, smoothness, bootstrap intervals. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def spearman(strengths: Sequence[float], scores: Array) -> Array:
    """Rank correlation of strength and score, for each curve; ties share their mean rank; 0 for a flat curve.

    Args:
        strengths: (k,), distinct.
        scores: (..., k).

    Returns:
        (...), in [-1, 1]; 1 if the score rises with every step.
    """
    x, y = _ranks(np.asarray(strengths, dtype=float)), _ranks(np.asarray(scores, dtype=float))
    x, y = x - x.mean(), y - y.mean(axis=-1, keepdims=True)
    scale = np.sqrt((x**2).sum() * (y**2).sum(axis=-1))
    return np.divide((x * y).sum(axis=-1), scale, out=np.zeros_like(scale), where=scale > 0)


def _ranks(values: Array) -> Array:
    below = (values[..., None, :] < values[..., :, None]).sum(axis=-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(axis=-1)
    return below + (equal + 1) / 2


def gap_deviation(strengths: Sequence[float], scores: Array) -> Array:
    """Standard deviation of normalised gaps: how uneven the steps of a curve are; 0 for a straight line.

    Each gap between neighbouring strengths is divided by the share that it would have of the whole rise if the
    curve were straight, so that an even dial has gaps of 1.

    Args:
        strengths: (k,), ascending.
        scores: (..., k).

    Returns:
        (...); NaN for a curve that ends where it began.
    """
    scores = np.asarray(scores, dtype=float)
    even = np.diff(np.asarray(strengths, dtype=float)) / (strengths[-1] - strengths[0])
    rise = scores[..., -1:] - scores[..., :1]
    gaps = np.divide(np.diff(scores, axis=-1), rise * even, out=np.full_like(scores[..., 1:], np.nan), where=rise != 0)
    return gaps.std(axis=-1)


def triangle_deficit(embeddings: Array) -> Array:
    """How much longer the way through neighbouring pictures is than the straight way, on average; 0 on a straight path.

    For each three neighbouring pictures a, b, c: d(a, b) + d(b, c) - d(a, c), with d the angle between embeddings in
    radians (a metric, so the deficit is never negative). After the smoothness measure of arXiv 2510.08532.

    Args:
        embeddings: (..., k, e), unit length, k >= 3, ordered by strength.

    Returns:
        (...), radians.
    """
    a, b, c = embeddings[..., :-2, :], embeddings[..., 1:-1, :], embeddings[..., 2:, :]
    return (_angle(a, b) + _angle(b, c) - _angle(a, c)).mean(axis=-1)


def _angle(a: Array, b: Array) -> Array:
    # atan2 of half sums keeps small angles exact, where arccos of a rounded cosine does not
    return 2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))


def bootstrap_interval(
    values: Array, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean with a percentile bootstrap interval over independent units (prompts).

    Args:
        values: (n,), one per unit.
        level: of the interval.
        resamples: how many.
        seed: of the resampling.

    Returns:
        (mean, low, high).
    """
    values = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)


def at_content(content: Sequence[float], style: Sequence[float], level: float) -> float:
    """The most style that a method gives while its content is at least `level`, between measured strengths linearly.

    Args:
        content: (k,), content kept at ascending strengths.
        style: (k,), style at the same strengths.
        level: of content that shall be kept.

    Returns:
        The style; NaN if content is below the level everywhere.
    """
    best = max((s for kept, s in zip(content, style, strict=True) if kept >= level), default=float("nan"))
    for (c0, s0), (c1, s1) in zip(
        zip(content[:-1], style[:-1], strict=True), zip(content[1:], style[1:], strict=True), strict=True
    ):
        if (c0 - level) * (c1 - level) < 0:
            best = np.fmax(best, s0 + (s1 - s0) * (c0 - level) / (c0 - c1))
    return float(best)
