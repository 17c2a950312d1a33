"""A concept as somebody types it: a name and prompts, one a line, typed, from a file, or from a packaged concept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..concepts.concept import Concept, list_concepts, load_concept
from ..concepts.levels import fill_template
from ..concepts.prompt_files import SUFFIXES, prompt_lines
from ..errors import LineaError
from ..shapeland import MODELS

MOST = 2_000
"""Prompts on a side."""


def known_concepts(model: str) -> list[str]:
    """Names of the packaged concepts that a model has words for."""
    return list_concepts(world="shapeland" if model in MODELS else "real")


def lines_of(text: str) -> tuple[str, ...]:
    """Prompts, one a line.

    Raises:
        LineaError: too many.
    """
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(lines) > MOST:
        raise LineaError(f"got {len(lines)} prompts: expected {MOST} at most; about 32 are enough")
    return lines


def targets_of(source: str, template: str) -> str:
    """Target prompts from source prompts and a template such as ``{prompt}, neon``, one a line.

    Raises:
        LineaError: a template without ``{prompt}``.
    """
    return "\n".join(fill_template(template, lines_of(source)))


def concept_of(name: str, source: str, target: str, begun: str | None = None) -> Concept:
    """The concept of these words.

    Args:
        name: of the style.
        source: prompts without it, one a line.
        target: prompts with it.
        begun: the packaged concept that they were made from: unchanged prompts keep its levels and its text.

    Raises:
        LineaError: no name, or prompts that make no concept.
    """
    name = " ".join(name.split())
    if not name or len(name) > 60:
        raise LineaError(f"got the name {name!r}: expected one of 1 to 60 letters")
    sides = lines_of(source), lines_of(target)
    if begun:
        packaged = load_concept(begun)
        if sides == (packaged.source, packaged.target):
            return Concept(name, *sides, packaged.text, packaged.neutral, packaged.kind, packaged.levels)
    return Concept(name, *sides, f"a picture in {name} style")


def read_concept(file: Path) -> tuple[str | None, Sequence[str], Sequence[str] | None]:
    """Name, source and target prompts of a file that somebody uploaded; a plain text has source prompts alone.

    Raises:
        LineaError: no file that holds prompts.
    """
    if file.suffix.lower() in SUFFIXES:
        concept = load_concept(file)
        return concept.name, concept.source, concept.target
    return None, prompt_lines(file), None
