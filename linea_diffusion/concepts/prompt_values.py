"""Values in the files of concepts, each checked with its place: facts, sides, prompts, levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import LineaError, short
from .levels import Level, check_level_strength, fill_template
from .prompt_checks import check_characters

KINDS = ("style", "object removal", "perspective")
"""What a concept can be: a style or a perspective that comes, or an object that goes."""
SIDES = ("source", "target")
FACTS = ("name", "text", "neutral", "kind")
EXAMPLES = {
    "name": 'name = "watercolor"',
    "text": 'text = "a picture in watercolor style"',
    "neutral": 'neutral = "a picture of something"',
    "kind": 'kind = "style"',
    "source": 'source = ["a red cat", "a blue boat"]',
    "target": 'target = ["a watercolor of a red cat", "a blue boat in watercolor"]',
}


class Prompts:
    """The prompts of a file by side, in the order of their rows; a side that is a number is the strength of a level."""

    def __init__(self) -> None:
        self._sides: dict[str | float, list[str]] = {side: [] for side in SIDES}

    def add(self, side: str | float, prompt: str) -> None:
        """Put a prompt at the end of a side."""
        self._sides.setdefault(side, []).append(prompt)

    def fields(self) -> dict[str, Any]:
        """Source, target and levels, as a `Concept` takes them."""
        strengths = sorted(side for side in self._sides if not isinstance(side, str))
        levels = tuple(Level(strength, tuple(self._sides[strength])) for strength in strengths)
        return {**{side: tuple(self._sides[side]) for side in SIDES}, "levels": levels}


def check_fact(value: object, key: str, place: str) -> str:
    """A text that says something of a concept: one of `FACTS`.

    Raises:
        LineaError: no text, an empty one, or an unknown kind.
    """
    if not isinstance(value, str) or not value.strip():
        raise LineaError(f"got {short(value)} for {key!r} in {place}: expected text such as {EXAMPLES[key]}")
    if key == "kind" and value not in KINDS:
        raise LineaError(f"got kind {value!r} in {place}: expected one of {', '.join(KINDS)}")
    return value


def as_side(value: object, place: str) -> str | float:
    """``source``, ``target``, or for ``level 0.5`` its strength.

    Raises:
        LineaError: anything else.
    """
    if value in SIDES:
        return str(value)
    kind, _, strength = str(value).partition(" ")
    try:
        number = float(strength) if kind == "level" else None
    except ValueError:
        number = None
    if number is None:
        raise LineaError(f"got side {short(value)} in {place}: expected source, target, or as 'level 0.5' less of it")
    return check_level_strength(number, f"side {short(value)} in {place}")


def check_prompt(value: object, place: str) -> str:
    """A prompt of a file.

    Raises:
        LineaError: no text, an empty one, or one with half a character.
    """
    if not isinstance(value, str):
        raise LineaError(f"got {short(value)} as {place}: expected a prompt, which is text in quotes")
    if not value.strip():
        raise LineaError(f"got an empty prompt as {place}: expected words; fill it or take it out")
    check_characters(value, f"{short(value)} as {place}")
    return value


def check_list(values: Any, key: str, place: str) -> tuple[str, ...]:
    """The prompts of a list.

    Raises:
        LineaError: no list, or an item that is no prompt.
    """
    if not isinstance(values, list):
        raise LineaError(f"got {short(values)} for {key!r} in {place}: expected a list of prompts")
    return tuple(
        check_prompt(value, f"item {number} of {key!r}, {place}") for number, value in enumerate(values, start=1)
    )


def level_of(entry: Any, source: Sequence[str], place: str) -> Level:
    """A level from a table with ``strength`` and either ``target`` or a ``template`` for the sources.

    Raises:
        LineaError: another shape, an unknown key, a strength that is no number between 0 and 1.
    """
    ways = ("target", "template")
    if not isinstance(entry, dict) or "strength" not in entry or sum(way in entry for way in ways) != 1:
        raise LineaError(
            f"got {short(entry)} as {place}: expected a table with strength = 0.5 and either target = [...] or "
            "template = '{prompt}, half neon'"
        )
    if unknown := entry.keys() - {"strength", *ways}:
        raise LineaError(f"got unknown key {min(unknown)!r} in {place}: expected only strength and target or template")
    strength = check_level_strength(entry["strength"], place)
    if "template" in entry:
        return Level(strength, fill_template(entry["template"], source, f"'template', {place}"))
    return Level(strength, check_list(entry["target"], "target", place))
