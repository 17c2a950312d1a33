"""Values and reasons as they read in an error of one line."""

from __future__ import annotations

from reprlib import Repr
from typing import Any


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
