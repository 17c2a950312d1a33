"""Numbers as people give them: Python's own, numpy's and torch's, told from what only looks like one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from .errors import LineaError
from .wording import short

LARGEST_SEED = 2**63 - 1


def as_number(value: Any) -> float | None:
    """A finite real number, also one of numpy's or a tensor's without dimensions; None for all else.

    True and False are no numbers here, and neither is what a float cannot hold.
    """
    try:
        value = value.item() if getattr(value, "ndim", None) == 0 else value
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except (OverflowError, RuntimeError):  # too large; a tensor without data
        return None
    return number if math.isfinite(number) else None


def as_whole(value: Any) -> int | None:
    """A whole number, as `as_number`; 3.0 is one."""
    number = as_number(value)
    return None if number is None or number % 1 else int(value)


def check_seed(value: Any, name: str = "seed") -> int:
    """A seed that every generator takes.

    Raises:
        LineaError: no whole number from 0 to 2^63 - 1.
    """
    seed = as_whole(value)
    if seed is None or not 0 <= seed <= LARGEST_SEED:
        raise LineaError(f"got {name}={short(value)}: expected a whole number from 0 to 2^63 - 1")
    return seed


def as_python(value: Any) -> Any:
    """Numpy's and torch's numbers and arrays as Python's numbers and lists, within lists and dicts too.

    Raises:
        LineaError: a tensor without data.
    """
    if isinstance(value, Mapping):
        return {name: as_python(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(as_python, value)) if isinstance(value, tuple) else list(map(as_python, value))
    try:
        return value.tolist() if hasattr(value, "tolist") and hasattr(value, "dtype") else value
    except RuntimeError:
        raise LineaError(f"got {short(value)}, which holds no numbers: expected numbers and text") from None
