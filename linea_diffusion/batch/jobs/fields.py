"""The fields of a job: their names in pipelines, what each may hold, and what holds for all jobs.

A check is told a value and its name, and gives the value as jobs have it; or it raises a `LineaError`, which says what
was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ...errors import LineaError, as_number, as_whole, short
from ...pipelines.masking import check_masking
from ...pipelines.rendering.requests import DIAL
from ...steering.curves import curve_of
from ...steering.dial import Dial, check_strength, is_points
from ...steering.parsing import parse_curve
from .expanding import Texts, check_strengths, count_images
from .fingerprint import digest
from .input_images import is_picture, picture_digest

ALIASES = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
"""Fields of a job that have another name in pipelines."""
DIALS: dict[str, Any] = {**DIAL, "masking": None}
"""Fields that say how steering acts, as the arguments of a call, with their defaults."""
_DEEPEST = 20


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under the names that pipelines have for them, with a size as width and height."""
    result: dict[str, Any] = {}
    for name, value in fields.items():
        sides = size_of(value) if name == "size" else (value,)
        names = ("width", "height") if name == "size" else (ALIASES.get(name, name),)
        for key, one in zip(names, sides, strict=True):
            if key in result:
                raise LineaError(f"got {key!r} twice, once by another name: expected it once")
            result[key] = one
    return result


def check_nesting(value: Any) -> None:
    """Whether lists and objects within each other are no deeper than anybody writes them."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [one for outer in level for one in _inner(outer)]
        if not level:
            return
    raise LineaError(f"got lists or objects within each other more than {_DEEPEST} deep: expected fewer")


def _inner(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()


def text_of(value: Any, name: str, *, empty: bool = False) -> str:
    """A text of whole characters."""
    if not isinstance(value, str) or not (empty or value.strip()):
        raise LineaError(f"got {name} {short(value)}: expected text")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise LineaError(f"got {name} {short(value)} with half a character (a lone surrogate): expected whole ones")
    return value


def number_of(value: Any, name: str) -> float:
    """A finite number."""
    number = as_number(value)
    if number is None:
        raise LineaError(f"got {name} {short(value)}: expected a finite number")
    return number


def strength_of(value: Any, name: str = "strength") -> float:
    """A strength, which is a number that float32 holds."""
    number = number_of(value, name)
    if abs(number) > 1e38:  # may be too large; to ask takes a tensor
        check_strength(number)
    return number


def count_of(value: Any, name: str) -> int:
    """A whole number above 0."""
    count = as_whole(value)
    if count is None or count < 1:
        raise LineaError(f"got {name}={short(value)}: expected a whole number above 0")
    return count


def size_of(value: Any) -> tuple[int, int]:
    """Width and height in pixels."""
    sides = value.lower().split("x") if isinstance(value, str) else value
    try:
        numbers = [count_of(int(side), "size") for side in (sides if isinstance(sides, list | tuple) else [sides])]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2):
        raise LineaError(f"got size {short(value)}: expected pixels, or width and height such as 768x512")
    return numbers[0], numbers[-1]


def names_of(value: Any, name: str = "steering") -> list[str] | None:
    """Names, of which one may stand alone; None when nothing is said."""
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(one, str) for one in names):
        raise LineaError(f"got {name} {short(value)}: expected a name or a list of names")
    if len(set(names)) != len(names):
        raise LineaError(f"got {name} {short(value)}: expected each name once")
    return [one for one in names if one]


def _points_of(value: Any) -> list[list[float]]:
    """The points of a curve, also from text (0:0,1:1)."""
    if not (isinstance(value, str) or is_points(value)):
        raise LineaError(f"got strength_curve {short(value)}: expected points such as [[0, 0], [0.3, 1]] or 0:0,0.3:1")
    points = parse_curve(value) if isinstance(value, str) else value
    curve_of(points)
    return [[float(share), float(strength)] for share, strength in points]


CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "prompt": text_of,
    "negative_prompt": partial(text_of, empty=True),
    "steering": names_of,
    "num_inference_steps": count_of,
    "width": count_of,
    "height": count_of,
    "guidance_scale": number_of,
    "denoising_strength": number_of,
}
"""Name -> check; how steering acts has `dials_of`, and of other arguments the pipeline says what they may be."""


def dials_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """How steering acts: `DIALS` as fields have them, checked."""
    if not DIALS.keys() & fields.keys():
        return dict(DIALS)
    dials = {name: fields.get(name, default) for name, default in DIALS.items()}
    if not isinstance(dials["calibrated"], bool | None):
        raise LineaError(f"got calibrated {short(dials['calibrated'])}: expected one of None, True, False")
    dial = Dial(dials["composition"], dials["steering_guidance"], dials["steering_start"], dials["steering_end"])
    dials |= {"steering_start": dial.start, "steering_end": dial.end}
    if dials["strength_curve"] is not None:
        dials["strength_curve"] = _points_of(dials["strength_curve"])
    if dials["masking"] is not None:
        check_masking(dials["masking"])
    if dials["mask"] is None:
        dials["masking"] = None
    else:
        text_of(dials["mask"], "mask")
    return dials


def check_defaults(defaults: Mapping[str, Any], texts: Texts | None = None) -> dict[str, Any]:
    """Fields for what jobs leave out, under the names that pipelines have for them.

    What no job could have is refused once, before anything is loaded or read.
    """
    fields = plain(defaults)
    dials_of(fields)
    for name, value in fields.items():
        if name in CHECKS:
            CHECKS[name](value, name)
        if is_picture(name, value):
            picture_digest(value)
    count_images(fields, texts)
    for strength in check_strengths(fields.get("strength", 0)):
        for one in strength.values() if isinstance(strength, Mapping) else [strength]:
            strength_of(one)
    digest(fields)
    return fields
