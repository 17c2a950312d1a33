"""Strengths and seeds as people type them: ``0.7``, ``0,0.5,1``, ``0:1:5``."""

from __future__ import annotations

from ..errors import LineaError, short

_MOST = 10_000
"""Positions that ``first:last:count`` may ask for."""
_LARGEST = 3.4e38
"""What float32 can hold."""


def parse_strengths(text: str) -> list[float]:
    """Numbers with commas, or ``first:last:count``, equally spaced with both ends: ``0:1:5`` is 0, .25, .5, .75, 1.

    Raises:
        LineaError: neither, or a number that float32 cannot hold.
    """
    try:
        values = _spaced(*text.split(":")) if ":" in text else [float(part) for part in text.split(",")]
    except (TypeError, ValueError):
        values = []
    if not values or not all(abs(value) <= _LARGEST for value in values):
        raise LineaError(
            f"got strength {short(text)}: expected finite numbers such as 0.7 or 0,0.5,1, or FIRST:LAST:COUNT such as "
            "0:1:5"
        )
    return values


def _spaced(first: str, last: str, count: str) -> list[float]:
    start, end, steps = float(first), float(last), int(count) - 1
    if not 1 <= steps < _MOST:
        raise ValueError
    return [round(start + (end - start) * i / steps, 12) for i in range(steps + 1)]


def parse_seeds(text: str) -> list[int]:
    """Whole numbers with commas, as ``0,1,2``.

    Raises:
        LineaError: something else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise LineaError(f"got seeds {short(text)}: expected whole numbers such as 0,1,2") from None
