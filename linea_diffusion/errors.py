"""The error that a user can cause and mend, and what nearly every error needs: words, numbers, a name, a folder."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from reprlib import Repr
from typing import Any

LARGEST_SEED = 2**63 - 1


class LineaError(ValueError):
    """Bad input: one line that says what was got, what was expected and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class ZeroMapsWarning(UserWarning):
    """Training ended with maps of which all numbers are zero: they steer nothing."""


class TrainingDivergedError(LineaError):
    """Training met a number that is not finite.

    Attributes:
        maps: the last good `SteeringMaps`: those of the last iteration whose loss was finite.
    """

    def __init__(self, message: str, maps: Any) -> None:
        super().__init__(message)
        self.maps = maps


def short(value: Any) -> str:
    """A value in one line, its middle left out when it is long."""
    return " ".join(_SHORT.repr(value).split())


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


def clipped(text: str, most: int = 600) -> str:
    """A message, its middle left out where somebody's long name fills it: its end says what to do."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


class _Short(Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_int(self, value: int, level: int) -> str:
        """Python itself refuses to write out very large numbers."""
        return str(value) if value.bit_length() <= 128 else f"a whole number of {value.bit_length()} bits"


_SHORT = _Short()


def nearest_hint(name: str, names: Iterable[str]) -> str:
    """``; nearest: NAME`` for the end of an error, or nothing where no name is like the one that was got."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=_ALIKE)
    return f"; nearest: {near[0]}" if near else ""


_ALIKE = 0.5
"""How much of two names must agree for one to be taken for the other, mistyped; difflib's ratio."""


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


def make_folder(folder: Path) -> None:
    """Create an output folder.

    Raises:
        LineaError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".linea-write-test"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise LineaError(f"got output folder {str(folder)!r}: expected a writable place ({reason(error)})") from None
