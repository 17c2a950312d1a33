"""One line, several images: alternatives in prompts, lists of strengths and seeds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, product
from typing import Any

from ..errors import LineaError
from ..wording import short

_MOST = 10_000


def expand(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The jobs of one line, each for one image: every prompt with every negative prompt, seed and strength.

    ``{a,b}`` in a prompt are alternatives, ``strength`` and ``seed`` may be lists, and ``images`` counts seeds upwards.

    Raises:
        LineaError: braces that do not close, an empty list, a count that is none.
    """
    ways: dict[str, list[Any]] = {}
    for name in ("prompt", "negative_prompt"):
        if isinstance(fields.get(name), str):
            ways[name] = _texts(fields[name])
    if "seed" in fields:
        ways["seed"] = _seeds(fields["seed"], fields.get("images", 1))
    if "strength" in fields:
        ways["strength"] = _strengths(fields["strength"])
    rest = {name: value for name, value in fields.items() if name != "images"}
    for values in product(*ways.values()):
        yield rest | dict(zip(ways, values, strict=True))


def count_images(fields: dict[str, Any]) -> int:
    """How many images a line asks for.

    Raises:
        LineaError: as `expand`.
    """
    return sum(1 for _ in expand(fields))


def alternatives(text: str) -> Iterator[str]:
    """The texts that ``{a,b}`` stand for, as a shell does it: nested ones too, and braces without a comma as they are.

    A backslash takes the meaning from a brace or comma: ``\\{``.

    Raises:
        LineaError: a brace that opens and does not close.
    """
    if "{" not in text and "\\" not in text:
        yield text
        return
    for pieces in product(*_pieces(text)):
        yield "".join(pieces)


def escape(text: str) -> str:
    """A text of which `alternatives` makes the given text alone."""
    return re.sub(r"([\\{},])", r"\\\1", text) if "{" in text or "\\" in text else text


def _texts(text: str) -> list[str]:
    texts = list(islice(alternatives(text), _MOST + 1))
    if len(texts) > _MOST:
        raise LineaError(f"got {short(text)}, which stands for more than {_MOST} prompts: expected fewer alternatives")
    return texts


def _pieces(text: str) -> list[list[str]]:
    """The parts of a text, each with the texts it may be."""
    parts: list[list[str]] = []
    plain, at = "", 0
    while at < len(text):
        if text[at] == "\\" and text[at + 1 : at + 2] in ("{", "}", ",", "\\"):
            plain, at = plain + text[at + 1], at + 2
        elif text[at] == "{":
            inside, at = _braced(text, at)
            parts.append([plain])
            plain = ""
            if len(inside) == 1:
                parts.append([f"{{{one}}}" for one in alternatives(inside[0])])
            else:
                parts.append([one for choice in inside for one in alternatives(choice)])
        else:
            plain, at = plain + text[at], at + 1
    return [*parts, [plain]]


def _braced(text: str, start: int) -> tuple[list[str], int]:
    """The choices between a brace and the one that closes it, and the place after that."""
    choices, depth, begin, at = [], 1, start + 1, start + 1
    while at < len(text):
        letter = text[at]
        if letter == "\\":
            at += 1
        elif letter == "," and depth == 1:
            choices.append(text[begin:at])
            begin = at + 1
        elif letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
            if depth == 0:
                return [*choices, text[begin:at]], at + 1
        at += 1
    raise LineaError(f"got {short(text)}, where a {{ does not close: expected {{a,b}}, or \\{{ for the brace itself")


def parse_strengths(text: str) -> list[float]:
    """Numbers with commas, or ``first:last:count``, equally spaced with both ends: ``0:1:5`` is 0, .25, .5, .75, 1.

    Raises:
        LineaError: neither.
    """
    try:
        parts = text.split(":")
        if len(parts) == 1:
            return [float(part) for part in text.split(",")]
        first, last, count = float(parts[0]), float(parts[1]), int(parts[2])
        if len(parts) != 3 or not 2 <= count <= _MOST:
            raise ValueError
    except (ValueError, IndexError):
        raise LineaError(
            f"got strengths {text!r}: expected numbers such as 0,0.5,1 or FIRST:LAST:COUNT such as 0:1:5"
        ) from None
    return [round(first + (last - first) * i / (count - 1), 12) for i in range(count)]


def _strengths(given: Any) -> list[Any]:
    if isinstance(given, str):
        return list(parse_strengths(given))
    values = given if isinstance(given, list | tuple) else [given]
    if not values:
        raise LineaError("got an empty list of strengths: expected at least one number, or leave it out")
    return list(values)


def _seeds(given: Any, images: Any) -> list[int]:
    if not isinstance(images, int) or isinstance(images, bool) or images < 1:
        raise LineaError(f"got images={short(images)}: expected a whole number above 0")
    seeds = given if isinstance(given, list | tuple) else [given]
    if not seeds or not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds):
        raise LineaError(f"got seed {short(given)}: expected a whole number, or a list of them")
    if not all(0 <= seed <= 2**63 - images for seed in seeds):
        raise LineaError(f"got seed {short(given)}: expected 0 to 2^63 - 1")
    return [seed + number for seed in seeds for number in range(images)]
