"""Strengths and the dial's other numbers, checked: the one door for all that is steered with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import LineaError, as_number, short

Strength = float | torch.Tensor


def check_strength(strength: Strength | Sequence[float]) -> torch.Tensor:
    """A strength as a float32 tensor, () or (n,).

    Numbers may be Python's, numpy's or tensors, in lists, arrays or tensors of one dimension.

    Raises:
        LineaError: not a number, not finite in float32, or an empty sequence.
    """
    given = _listed(strength)
    numbers = [as_number(one) for one in given] if isinstance(given, Sequence) else [as_number(given)]
    known = [number for number in numbers if number is not None]
    values = torch.tensor(known, dtype=torch.float64).float()
    if len(known) < max(len(numbers), 1) or not bool(values.isfinite().all()):
        raise LineaError(
            f"got strength {short(strength)}: expected a finite number (0 is the base model, 1 the concept) or a list "
            "of such numbers"
        )
    return values if isinstance(given, Sequence) else values[0]


def _listed(given: Any) -> Any:
    """Arrays and tensors as Python's numbers in lists; texts are no lists of anything."""
    try:
        given = given.tolist() if hasattr(given, "tolist") else given
    except RuntimeError:  # a tensor without data
        return None
    return None if isinstance(given, str | bytes) else given


def check_positions(strengths: Sequence[float]) -> tuple[float, ...]:
    """The positions of a dial, one or more, as Python's numbers.

    Raises:
        LineaError: no list, or an entry that is no strength.
    """
    values = check_strength(strengths)
    if values.ndim != 1:
        raise LineaError(f"got strengths {short(strengths)}: expected a list of numbers, such as [0, 0.5, 1]")
    return tuple(float(one) for one in _listed(strengths))


def check_window(start: Any, end: Any) -> tuple[float, float]:
    """The part [start, end) of the denoising schedule in which steering acts, as shares of it.

    Raises:
        LineaError: no numbers with 0 <= start < end <= 1.
    """
    first, last = as_number(start), as_number(end)
    if first is None or last is None or not 0 <= first < last <= 1:
        raise LineaError(
            f"got steering_start={short(start)} and steering_end={short(end)}: expected 0 <= start < end <= 1, shares "
            "of the denoising schedule"
        )
    return first, last
