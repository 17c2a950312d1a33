"""Checks of options as they are read: what no command could use is refused before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import typer

from ..errors import LineaError, check_seed

DTYPES = ("float32", "float16", "bfloat16")
_LARGEST = 3.4e38
"""What float32 can hold."""

Check = Callable[[typer.CallbackParam, Any], Any]


def at_least(least: int) -> Check:
    """A whole number that is not below another, or none."""

    def check(option: typer.CallbackParam, value: int | None) -> int | None:
        if value is not None and value < least:
            raise LineaError(f"got {_name(option)} {value}: expected a whole number of at least {least}")
        return value

    return check


def seed(option: typer.CallbackParam, value: int) -> int:
    """A seed that every generator takes."""
    return check_seed(value, _name(option))


def guidance(option: typer.CallbackParam, value: float | None) -> float | None:
    """A guidance scale: a finite number of at least 0, or none."""
    if value is not None and not 0 <= value <= _LARGEST:
        raise LineaError(f"got {_name(option)} {value}: expected a finite number of at least 0, such as 7.5")
    return value


def dtype(option: typer.CallbackParam, value: str) -> str:
    """The name of a dtype."""
    if value not in DTYPES:
        raise LineaError(f"got {_name(option)} {value!r}: expected one of {', '.join(DTYPES)}")
    return value


def device(option: typer.CallbackParam, value: str) -> str:
    """A device that this machine has."""
    if value == "cpu":
        return value
    import torch

    try:
        if torch.device(value).type == "meta":
            raise RuntimeError("it computes nothing")
        torch.empty(0, device=value)
    except (RuntimeError, AssertionError) as error:
        raise LineaError(
            f"got {_name(option)} {value!r}: expected one that this machine has, such as cpu ({error!s:.80})"
        ) from None
    return value


def strengths(text: str) -> list[float]:
    """The numbers of --strength or --strengths, checked."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(abs(value) <= _LARGEST for value in values):
        raise LineaError(f"got strength {text!r}: expected finite numbers such as 0.7 or 0,0.5,1")
    return values


def _name(option: typer.CallbackParam) -> str:
    return max(option.opts, key=len)
