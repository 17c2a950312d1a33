"""Maps from and to plain tensors: w and b as anyone has them, rather than w - 1 and names of parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import LineaError, short
from ..steering.affine.affine_map import LOW_RANK, PARTS, AffineMap
from .packing import check_numbers

PlainMap = tuple[torch.Tensor, ...]
"""(w, b) of an activation, or (w, b, U, V)."""


def numbers_from(tensors: Mapping[str, Sequence[Any]]) -> dict[str, torch.Tensor]:
    """``<activation>.<part>``, float32, from (w, b) or (w, b, U, V) of each activation; w - 1 is taken in float64.

    Args:
        tensors: as `SteeringMaps.from_tensors`.

    Raises:
        LineaError: no maps, no two or four tensors for an activation, or tensors that maps cannot have.
    """
    numbers = {}
    for name, parts in tensors.items():
        if isinstance(parts, torch.Tensor | np.ndarray) or len(parts) not in (2, len(PARTS)):
            raise LineaError(f"got {short(parts)} for {name!r}: expected a tuple (w, b), or (w, b, U, V)")
        w, *others = (_wide(part, name) for part in parts)
        for part, value in zip(PARTS, (w - 1, *others), strict=False):
            numbers[f"{name}.{part}"] = value.float()
    check_numbers(numbers)
    return numbers


def _wide(value: Any, name: str) -> torch.Tensor:
    """A tensor, an array or a list as float64 on the CPU; a copy."""
    try:
        tensor = value.detach() if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value, dtype=float))
    except (TypeError, ValueError):
        raise LineaError(
            f"got {short(value)} for {name!r}: expected a torch tensor or a NumPy array of numbers"
        ) from None
    return tensor.to("cpu", torch.float64, copy=True)


def plain(affine: AffineMap) -> PlainMap:
    """(w, b) of a map, or (w, b, U, V), float64 copies on the CPU, in which w keeps what its w - 1 holds."""
    parts = {
        name: part.detach().to("cpu", torch.float64, copy=True) for name, part in affine.trimmed().tensors().items()
    }
    w, b, *low = (parts[name] for name in PARTS if name in parts or name not in LOW_RANK)
    return (1 + w, b, *low)
