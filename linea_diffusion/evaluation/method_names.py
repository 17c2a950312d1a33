"""The names of ways to steer, which are known before anything heavy is imported."""

from __future__ import annotations

from ..errors import LineaError, nearest_hint

PROMPTING = "prompting"
METHOD_NAMES = (
    "lineas",
    "lineas-dense",
    "lineas-laws",
    "lineas-paper",
    "mean-shift",
    "gaussian-act",
    "lin-act",
    "lin-act-at-once",
)
"""What `methods.METHODS` knows: ways that learn maps."""


def check_method(method: str) -> None:
    """Whether there is a method of this name.

    Raises:
        LineaError: there is none.
    """
    names = [*METHOD_NAMES, PROMPTING]
    if method not in names:
        raise LineaError(f"got method {method!r}: expected one of {', '.join(names)}{nearest_hint(method, names)}")
