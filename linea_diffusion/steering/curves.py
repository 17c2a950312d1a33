"""A strength that changes while a picture is made: a curve over the share of the denoising schedule that is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import LineaError, as_number, as_python, short
from .dial import check_strength, is_curve, is_points


@dataclass(frozen=True, eq=False)
class StrengthCurve:
    """A strength as a function of the share of the schedule that is done, [0, 1).

    Attributes:
        at: share -> strength, () or for each of several pictures (n,), float32.
        rows: n, or 0 for one curve for all pictures.
        key: what it is, to be compared.
    """

    at: Callable[[float], torch.Tensor]
    rows: int
    key: tuple[object, ...]

    def through(self, reading: Callable[[torch.Tensor], torch.Tensor]) -> StrengthCurve:
        """The curve of what a dial makes of each strength."""
        return StrengthCurve(lambda fraction: reading(self.at(fraction)), self.rows, self.key)


def read_curve(strength: Any) -> StrengthCurve:
    """A curve as a call takes it, see `is_curve`: one, or a list with one, or a number, for each picture.

    Raises:
        LineaError: none of these.
    """
    if callable(strength) or is_points(strength):
        return curve_of(strength)
    curves = [curve_of(one) if is_curve(one) else _level(one) for one in strength]
    at = lambda fraction: torch.stack([curve.at(fraction) for curve in curves])  # noqa: E731
    return StrengthCurve(at, len(curves), tuple(curve.key for curve in curves))


def curve_of(value: Any) -> StrengthCurve:
    """A curve from a callable, or from points (share of the schedule, strength).

    Raises:
        LineaError: neither, shares that are not from 0 to 1 or do not rise, strengths that are no finite numbers.
    """
    if isinstance(value, StrengthCurve):
        return value
    if callable(value):
        return StrengthCurve(lambda fraction: _one(value(fraction), fraction), 0, ("called", value))
    points = as_python(value) if is_points(value) else ()
    numbers = [(as_number(share), as_number(strength)) for share, strength in points]
    shares = [share for share, _ in numbers if share is not None and 0 <= share <= 1]
    strengths = [strength for _, strength in numbers if strength is not None]
    if not numbers or len(shares) < len(numbers) or len(strengths) < len(numbers) or sorted(set(shares)) != shares:
        raise LineaError(
            f"got strength curve {short(value)}: expected a function of the share of the schedule that is done, or "
            "points (share, strength) with shares that rise within 0 and 1, such as [(0, 0), (0.3, 1), (1, 0.5)]"
        )
    check_strength(strengths)
    return StrengthCurve(lambda fraction: torch.tensor(_between(numbers, fraction)), 0, tuple(numbers))


def _between(points: Sequence[Any], share: float) -> float:
    """The strength at a share of the schedule, linear between points."""
    after = next((number for number, (at, _) in enumerate(points) if at > share), len(points))
    (left, low), (right, high) = points[max(after - 1, 0)], points[min(after, len(points) - 1)]
    return float(low if right <= left or share <= left else low + (high - low) * (share - left) / (right - left))


def _level(strength: Any) -> StrengthCurve:
    value = check_strength(strength)
    if value.ndim:
        raise LineaError(f"got strength {short(strength)} for one picture: expected a number or a curve")
    return StrengthCurve(lambda fraction: value, 0, (float(value),))


def _one(strength: Any, fraction: float) -> torch.Tensor:
    value = check_strength(strength)
    if value.ndim:
        raise LineaError(f"got strength {short(strength)} at {fraction:.3g} of the schedule: expected one number")
    return value
