"""The fields of a job: their names, and what each may hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...errors import LineaError, short
from ...pipelines.masking import check_masking
from ...pipelines.rendering.requests import DIAL
from ...steering.curves import curve_of
from ...steering.dial import COMPOSITIONS, STEERING_GUIDANCE, check_strength, is_points
from ...steering.parsing import parse_curve

ALIASES = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
"""Fields of a job that have another name in pipelines."""
DIALS: dict[str, Any] = {**DIAL, "masking": None}
"""Fields that say how steering acts, as the arguments of a call, with their defaults."""
LATER = ("strength_curve", "mask", "masking")
"""Those of them that images of before do not know: they are part of an image's name where they are given."""
_DEEPEST = 20


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under the names that pipelines have for them, with a size as width and height."""
    result: dict[str, Any] = {}
    for name, value in fields.items():
        width_and_height = zip(("width", "height"), size_of(value), strict=True) if name == "size" else ()
        for key, one in dict(width_and_height).items() or [(ALIASES.get(name, name), value)]:
            if key in result:
                raise LineaError(f"got {key!r} twice, once by another name: expected it once")
            result[key] = one
    return result


def check_nesting(value: Any) -> None:
    """Whether lists and objects within each other are no deeper than anybody writes them.

    Raises:
        LineaError: they are.
    """
    level = [value]
    for _ in range(_DEEPEST):
        level = [one for outer in level for one in _inner(outer)]
        if not level:
            return
    raise LineaError(f"got lists or objects within each other more than {_DEEPEST} deep: expected fewer")


def _inner(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()


def text_of(value: Any, name: str, *, empty: bool = False) -> str:
    """A text, checked.

    Raises:
        LineaError: it is none.
    """
    if not isinstance(value, str) or not (empty or value.strip()):
        raise LineaError(f"got {name} {short(value)}: expected text")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise LineaError(f"got {name} {short(value)} with half a character (a lone surrogate): expected whole ones")
    return value


def number_of(value: Any, name: str) -> float:
    """A finite number, checked.

    Raises:
        LineaError: it is none.
    """
    if not _is_number(value):
        raise LineaError(f"got {name} {short(value)}: expected a finite number")
    return float(value)


def strength_of(value: Any, name: str) -> float:
    """A strength, checked.

    Raises:
        LineaError: it is none.
    """
    number = number_of(value, name)
    check_strength(number)
    return number


def count_of(value: Any, name: str) -> int:
    """A whole number above 0, checked.

    Raises:
        LineaError: it is none.
    """
    if not _is_number(value) or value % 1 or value < 1:
        raise LineaError(f"got {name}={short(value)}: expected a whole number above 0")
    return int(value)


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def size_of(value: Any) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        LineaError: it is none.
    """
    parts = (
        value.lower().split("x") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    )
    try:
        numbers = [count_of(int(part), "size") for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2):
        raise LineaError(f"got size {short(value)}: expected pixels, or width and height such as 768x512")
    return numbers[0], numbers[-1]


def names_of(value: Any) -> list[str] | None:
    """Names of steering; None when nothing is said.

    Raises:
        LineaError: it is none.
    """
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise LineaError(f"got steering {short(value)}: expected a name or a list of names")
    if len(set(names)) != len(names):
        raise LineaError(f"got steering {short(value)}: expected each name once")
    return [name for name in names if name]


def dial_of(name: str, value: Any) -> Any:
    """A dial of a call, checked.

    Raises:
        LineaError: it is none.
    """
    choices = {"composition": COMPOSITIONS, "steering_guidance": STEERING_GUIDANCE, "calibrated": (None, True, False)}
    if name in choices:
        if value not in choices[name] or (name == "calibrated" and not isinstance(value, bool | None)):
            raise LineaError(f"got {name} {short(value)}: expected one of {', '.join(map(str, choices[name]))}")
        return value
    if name == "mask":
        return None if value is None else text_of(value, name)
    if name == "masking":
        if value is not None:
            check_masking(value)
        return value
    if name == "strength_curve":
        return None if value is None else _points(value)
    share = number_of(value, name)
    if not 0 <= share <= 1:
        raise LineaError(f"got {name}={share:g}: expected a share of the denoising schedule, 0 to 1")
    return share


def _points(value: Any) -> list[list[float]]:
    """The points of a curve, also from text (0:0,1:1)."""
    if not (isinstance(value, str) or is_points(value)):
        raise LineaError(f"got strength_curve {short(value)}: expected points such as [[0, 0], [0.3, 1]] or 0:0,0.3:1")
    points = parse_curve(value) if isinstance(value, str) else value
    curve_of(points)
    return [[float(share), float(strength)] for share, strength in points]


def check_window(fields: Mapping[str, Any]) -> None:
    """Whether steering begins before it ends.

    Raises:
        LineaError: it does not.
    """
    start, end = (fields.get(name, DIALS[name]) for name in ("steering_start", "steering_end"))
    if not start < end:
        raise LineaError(f"got steering_start={start} and steering_end={end}: expected the start before the end")


CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "num_inference_steps": count_of,
    "width": count_of,
    "height": count_of,
    "guidance_scale": number_of,
}
"""Arguments of pipelines that are checked before a call -> their check, of value and name."""
