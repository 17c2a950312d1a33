"""One line, several images: alternatives in prompts, lists of strengths and seeds. Counted before they are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from ...errors import LARGEST_SEED, LineaError, as_whole, short
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


def expand(fields: Mapping[str, Any], texts: Texts | None = None) -> Iterator[dict[str, Any]]:
    """The jobs of one line, each for one image: every prompt with every negative prompt, seed and strength.

    Args:
        fields: of the line. ``strength`` and ``seed`` may be lists, and ``images`` counts seeds upwards.
        texts: reads prompts; None: ``{a,b}`` are alternatives.

    Raises:
        LineaError: braces that do not close or are too deep, an empty list, a count that is none, or too many images.
    """
    ways = _ways(fields, texts)
    for values in product(*ways.values()):
        one = {**fields, **dict(zip(ways, values, strict=True))}
        one["seed"] += one.pop("images")
        yield one


def count_images(fields: Mapping[str, Any], texts: Texts | None = None) -> int:
    """How many images a line asks for, which takes no longer for many; errors as of `expand`."""
    return prod(map(len, _ways(fields, texts).values()))


def _ways(fields: Mapping[str, Any], texts: Texts | None) -> dict[str, Sequence[Any]]:
    """The values that a field stands for."""
    ways: dict[str, Sequence[Any]] = {}
    for name in ("prompt", "negative_prompt"):
        if isinstance(fields.get(name), str):
            ways[name] = (texts or alternatives)(fields[name])
    ways["seed"], ways["images"] = check_seeds(fields.get("seed", 0), fields.get("images", 1))
    if "strength" in fields:
        ways["strength"] = check_strengths(fields["strength"])
    if (count := prod(map(len, ways.values()))) > MOST_IMAGES:
        raise LineaError(f"got a line that asks for {count} images: expected at most {MOST_IMAGES}; use several lines")
    return ways


def alternatives(text: str) -> list[str]:
    """The texts that ``{a,b}`` stand for, as a shell does it: nested ones too, and braces without a comma as they are.

    A backslash takes the meaning from a brace or comma: ``\\{``.

    Raises:
        LineaError: a brace that opens and does not close, braces too deep within braces, or too many texts.
    """
    if "{" not in text and "\\" not in text:
        return [text]
    return _read(iter(re.findall(r"\\.|[^\\{},]+|.", text, flags=re.DOTALL)), text, 0)


def escape(text: str) -> str:
    """A text of which `alternatives` makes the given text alone."""
    return re.sub(r"([\\{},])", r"\\\1", text) if "{" in text or "\\" in text else text


def _read(signs: Iterator[str], text: str, depth: int) -> list[str]:
    """The texts up to the end, or to the brace that closes."""
    if depth > _DEEPEST:
        raise LineaError(
            f"got {short(text)}, with braces more than {_DEEPEST} deep in each other: expected fewer, or \\{{ for the "
            "brace itself"
        )
    chosen, commas, made = list[str](), 0, [""]
    for sign in signs:
        if sign == "{":
            made = _joined(made, _read(signs, text, depth + 1), text)
        elif depth and sign == ",":
            chosen, commas, made = _few(chosen + made, text), commas + 1, [""]
        elif depth and sign == "}":
            return chosen + made if commas else [f"{{{one}}}" for one in made]
        else:
            made = _joined(made, [sign[1:] if sign[0] == "\\" and sign[1:] in {*"{},\\"} else sign], text)
    if depth:
        raise LineaError(
            f"got {short(text)}, where a {{ does not close: expected {{a,b}}, or \\{{ for the brace itself"
        )
    return made


def _joined(firsts: list[str], seconds: list[str], text: str) -> list[str]:
    count = len(firsts) * len(seconds)
    if 1 < count <= MOST_PROMPTS and count * len(text) > _MOST_LETTERS:
        raise LineaError(
            f"got {short(text)}, which stands for {count} prompts and more of up to {len(text)} letters: expected at "
            f"most {_MOST_LETTERS} letters from one line; use several lines"
        )
    return [one + other for one in firsts for other in _few(seconds, text, count)]


def _few(texts: list[str], text: str, count: int = 0) -> list[str]:
    if max(count, len(texts)) > MOST_PROMPTS:
        raise LineaError(
            f"got {short(text)}, which stands for more than {MOST_PROMPTS} prompts: expected fewer alternatives"
        )
    return texts


def check_strengths(value: Any) -> list[Any]:
    """The strengths of a line, one or several; what each may be is checked where its steering is known."""
    if isinstance(value, str):
        return [*parse_dials(value)]
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values:
        raise LineaError("got an empty list of strengths: expected at least one number, or leave it out")
    return values


def check_seeds(value: Any, images: Any) -> tuple[list[int], range]:
    """The seeds of a line, which generators take, and what is counted upwards from each."""
    count, wanted = as_whole(images), list(value) if isinstance(value, list | tuple) else [value]
    if count is None or count < 1:
        raise LineaError(f"got images={short(images)}: expected a whole number above 0")
    seeds = [seed for seed in map(as_whole, wanted) if seed is not None]
    if not seeds or len(seeds) < len(wanted):
        raise LineaError(f"got seed {short(value)}: expected a whole number, or a list of them")
    if not all(0 <= seed <= LARGEST_SEED + 1 - count for seed in seeds):
        raise LineaError(f"got seed {short(value)}: expected 0 to 2^63 - 1")
    return seeds, range(count)
