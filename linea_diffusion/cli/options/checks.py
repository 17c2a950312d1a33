"""Checks of options as they are read: what no command could use is refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer

from ...errors import LineaError, check_seed
from ...steering.preset_names import check_pattern

DTYPE_NAMES = ("float32", "float16", "bfloat16")
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


def one_of(*names: str) -> Check:
    """One of some words, or none where the option may be left out."""

    def check(option: typer.CallbackParam, value: Any) -> Any:
        return None if value is None else choice(value, _name(option), names)

    return check


def above_0(option: typer.CallbackParam, value: float | None) -> float | None:
    """A finite number above 0, or none."""
    if value is not None and not 0 < value <= _LARGEST:
        raise LineaError(f"got {_name(option)} {value}: expected a finite number above 0")
    return value


def plots(option: typer.CallbackParam, value: str | None) -> str | None:
    """A format of plots, or none."""
    return None if value is None else choice(value, _name(option), ("pdf", "svg", "png"))


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
    return choice(value, _name(option), ("auto", *DTYPE_NAMES))


def device(option: typer.CallbackParam, value: str) -> str:
    """A device that this machine has."""
    if value in ("auto", "cpu"):
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


def choice(value: str, what: str, names: Sequence[str]) -> str:
    """One of some words; `what` says in errors whose it is."""
    if value not in names:
        raise LineaError(f"got {what} {value!r}: expected one of {', '.join(names)}")
    return value


def patterns(option: typer.CallbackParam, values: list[str] | None) -> list[str] | None:
    """Presets and patterns of modules that could choose some in any model."""
    for value in values or ():
        check_pattern(value)
    return values


def _name(option: typer.CallbackParam) -> str:
    return max(option.opts, key=len)
