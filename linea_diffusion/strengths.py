"""Strengths: numbers and lists of them, checked, and spread over the rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .errors import LineaError

Strength = float | torch.Tensor


def check_strength(strength: Strength | Sequence[float]) -> torch.Tensor:
    """A strength as a float32 tensor, () or (n,).

    Raises:
        LineaError: not a number, not finite, or an empty sequence.
    """
    try:
        values = torch.as_tensor(strength, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        values = torch.empty(0)
    if values.ndim > 1 or values.numel() == 0 or not bool(values.isfinite().all()):
        raise LineaError(
            f"got strength {strength!r}: expected a finite number (0 is the base model, 1 the concept) or a list of "
            "such numbers"
        )
    return values
