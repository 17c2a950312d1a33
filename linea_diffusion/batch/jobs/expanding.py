"""One line, several images: alternatives in prompts, lists of strengths and seeds. Counted before they are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

from ...errors import LineaError, as_whole, short
from ...steering.parsing import parse_dials

MOST_IMAGES = 1_000_000
"""Images that one line may ask for."""
MOST_PROMPTS = 10_000
"""Prompts that one line may stand for."""
_MOST_LETTERS = 20_000_000
"""Of all prompts of a line together: they are held at once."""
_DEEPEST = 32


Texts = Callable[[str], list[str]]
"""The prompts that the text of a field stands for."""


def expand(fields: dict[str, Any], texts: Texts | None = None) -> Iterator[dict[str, Any]]:
    """The jobs of one line, each for one image: every prompt with every negative prompt, seed and strength.

    ``strength`` and ``seed`` may be lists, and ``images`` counts seeds upwards.

    Args:
        fields: of the line.
        texts: reads prompts; None: ``{a,b}`` are alternatives.

    Raises:
        LineaError: braces that do not close or are too deep, an empty list, a count that is none, or too many images.
    """
    ways = _ways(fields, texts)
    rest = {name: value for name, value in fields.items() if name != "images"}
    for values in _product([one for _, one in ways.values()]):
        yield rest | dict(zip(ways, values, strict=True))


def count_images(fields: dict[str, Any], texts: Texts | None = None) -> int:
    """How many images a line asks for, which takes no longer for many.

    Raises:
        LineaError: as `expand`.
    """
    return prod(count for count, _ in _ways(fields, texts).values())


_Way = tuple[int, Callable[[], Iterator[Any]]]
"""How many values a field stands for, and what gives them, as often as it is asked."""


def _ways(fields: dict[str, Any], texts: Texts | None) -> dict[str, _Way]:
    ways: dict[str, _Way] = {}
    for name in ("prompt", "negative_prompt"):
        if isinstance(fields.get(name), str):
            made = (texts or braced_texts)(fields[name])
            ways[name] = len(made), made.__iter__
    if "seed" in fields:
        seeds, images = check_seeds(fields["seed"], fields.get("images", 1))
        ways["seed"] = len(seeds) * images, lambda: (seed + number for seed in seeds for number in range(images))
    if "strength" in fields:
        strengths = check_strengths(fields["strength"])
        ways["strength"] = len(strengths), strengths.__iter__
    if (count := prod(count for count, _ in ways.values())) > MOST_IMAGES:
        raise LineaError(f"got a line that asks for {count} images: expected at most {MOST_IMAGES}; use several lines")
    return ways


def _product(ways: Sequence[Callable[[], Iterator[Any]]]) -> Iterator[tuple[Any, ...]]:
    """As `itertools.product`, which would hold all values of each."""
    if not ways:
        yield ()
        return
    for value in ways[0]():
        for others in _product(ways[1:]):
            yield (value, *others)


def alternatives(text: str) -> Iterator[str]:
    """The texts that ``{a,b}`` stand for, as a shell does it: nested ones too, and braces without a comma as they are.

    A backslash takes the meaning from a brace or comma: ``\\{``.

    Raises:
        LineaError: a brace that opens and does not close, braces within braces beyond a sensible depth.
    """
    if "{" not in text and "\\" not in text:
        yield text
        return
    for pieces in product(*_pieces(text)):
        yield "".join(pieces)


def count_alternatives(text: str) -> int:
    """How many texts `alternatives` gives, without making them; far beyond what a line may ask for, at least how many.

    Raises:
        LineaError: as `alternatives`.
    """
    count = 1
    for part in _parts(text) if "{" in text else ():
        if not isinstance(part, str):
            count *= sum(map(count_alternatives, part))
        if count > MOST_PROMPTS**2:
            break
    return count


def escape(text: str) -> str:
    """A text of which `alternatives` makes the given text alone."""
    return re.sub(r"([\\{},])", r"\\\1", text) if "{" in text or "\\" in text else text


def braced_texts(text: str) -> list[str]:
    """The texts of `alternatives`, unless they are too many."""
    _check_depth(text)
    if (count := count_alternatives(text)) > MOST_PROMPTS:
        raise LineaError(
            f"got {short(text)}, which stands for more than {MOST_PROMPTS} prompts: expected fewer alternatives"
        )
    if count > 1 and count * len(text) > _MOST_LETTERS:
        raise LineaError(
            f"got {short(text)}, which stands for {count} prompts of up to {len(text)} letters: expected at most "
            f"{_MOST_LETTERS} letters from one line; use several lines"
        )
    return list(alternatives(text))


def _check_depth(text: str) -> None:
    depth = 0
    for letter in re.findall(r"\\.|[{}]", text, flags=re.DOTALL):
        depth = max(0, depth + {"{": 1, "}": -1}.get(letter, 0))
        if depth > _DEEPEST:
            raise LineaError(
                f"got {short(text)}, with braces more than {_DEEPEST} deep in each other: expected fewer, or \\{{ for "
                "the brace itself"
            )


def _pieces(text: str) -> list[list[str]]:
    """The parts of a text, each with the texts it may be."""
    parts: list[list[str]] = []
    for part in _parts(text):
        if isinstance(part, str):
            parts.append([part])
        elif len(part) == 1:
            parts.append([f"{{{one}}}" for one in alternatives(part[0])])
        else:
            parts.append([one for choice in part for one in alternatives(choice)])
    return parts


def _parts(text: str) -> Iterator[str | list[str]]:
    """The parts of a text: plain ones, and the choices within a pair of braces."""
    plain, at = [], 0
    while at < len(text):
        if text[at] == "\\" and text[at + 1 : at + 2] in ("{", "}", ",", "\\"):
            plain.append(text[at + 1])
            at += 2
        elif text[at] == "{":
            inside, at = _braced(text, at)
            yield "".join(plain)
            yield inside
            plain = []
        else:
            plain.append(text[at])
            at += 1
    yield "".join(plain)


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


def check_strengths(value: Any) -> list[Any]:
    """The strengths of a line, one or several; what each may be is checked where its steering is known.

    Raises:
        LineaError: an empty list, or text that `parse_dials` cannot read.
    """
    if isinstance(value, str):
        return [*parse_dials(value)]
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise LineaError("got an empty list of strengths: expected at least one number, or leave it out")
    return list(values)


def check_seeds(value: Any, images: Any) -> tuple[list[int], int]:
    """The seeds of a line, and how many images each is counted upwards for.

    Raises:
        LineaError: no whole numbers that generators take.
    """
    count, wanted = as_whole(images), list(value) if isinstance(value, list | tuple) else [value]
    if count is None or count < 1:
        raise LineaError(f"got images={short(images)}: expected a whole number above 0")
    seeds = [seed for seed in map(as_whole, wanted) if seed is not None]
    if not seeds or len(seeds) < len(wanted):
        raise LineaError(f"got seed {short(value)}: expected a whole number, or a list of them")
    if not all(0 <= seed <= 2**63 - count for seed in seeds):
        raise LineaError(f"got seed {short(value)}: expected 0 to 2^63 - 1")
    return seeds, count
