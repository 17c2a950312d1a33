"""Levels of a concept: prompts that ask for less of it, and the templates that write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LineaError, as_number, short
from .prompt_checks import check_prompts

PLACE = "{prompt}"
"""Where a template takes the prompt in."""


@dataclass(frozen=True)
class Level:
    """Prompts that ask for a part of a concept.

    Attributes:
        strength: how much of the concept they ask for, above 0 (the source) and below 1 (the target).
        target: one prompt for each target of the concept, of the same content in the same row.

    Raises:
        LineaError: a strength that is no number between 0 and 1, targets that are no texts.
    """

    strength: float
    target: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", check_level_strength(self.strength))
        check_prompts(self.target, "target", f"of level {self.strength}")
        object.__setattr__(self, "target", tuple(self.target))


def check_level_strength(strength: Any, place: str = "a level") -> float:
    """The strength of a level as a Python number.

    Raises:
        LineaError: no number above 0 and below 1.
    """
    number = as_number(strength)
    if number is None or not 0 < number < 1:
        raise LineaError(
            f"got strength {short(strength)} for {place}: expected a number above 0, the source, and below 1, the "
            "target, such as 0.5"
        )
    return number


def check_levels(levels: Sequence[Level], target: Sequence[str], name: str) -> None:
    """Check the levels of a concept against its targets.

    Raises:
        LineaError: no tuple of levels, strengths that do not rise, another count of prompts than `target` has, or the
            very prompts of the target or of another level.
    """
    if not isinstance(levels, tuple) or not all(isinstance(level, Level) for level in levels):
        raise LineaError(f"got levels {short(levels)} for concept {name!r}: expected a tuple of Level")
    strengths = [level.strength for level in levels]
    if strengths != sorted(set(strengths)):
        raise LineaError(f"got levels at {strengths} for concept {name!r}: expected strengths that rise; sort them")
    owners = {tuple(target): "the target"}
    for level in levels:
        if len(level.target) != len(target):
            raise LineaError(
                f"got {len(level.target)} prompts at level {level.strength} of concept {name!r}: expected "
                f"{len(target)}, one for each target"
            )
        if same := owners.get(level.target):
            raise LineaError(
                f"got the same prompts at level {level.strength} as for {same} of concept {name!r}: expected prompts "
                "that ask for another amount; change them or leave the level out"
            )
        owners[level.target] = f"level {level.strength}"


def fill_template(template: Any, prompts: Sequence[str], place: str = "a template") -> tuple[str, ...]:
    """Every prompt put into a template, such as ``{prompt}, neon``: (n,) -> (n,).

    Raises:
        LineaError: a template that is no text or has no ``{prompt}``.
    """
    if not isinstance(template, str) or PLACE not in template:
        raise LineaError(f"got {short(template)} as {place}: expected text with {PLACE}, such as '{PLACE}, neon'")
    return tuple(template.replace(PLACE, prompt) for prompt in prompts)
