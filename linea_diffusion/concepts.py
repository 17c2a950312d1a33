"""Concepts as data: what to steer from and to, in prompts."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from .errors import LineaError
from .modules import nearest_name


@dataclass(frozen=True)
class StyleTexts:
    """What pictures of a concept are scored against.

    Attributes:
        name: of the concept, for titles and tables.
        text: the style in words, such as ``a picture in watercolor style``.
        neutral: the text without the concept that `text` is weighed against.
    """

    name: str
    text: str
    neutral: str = "a picture of something"


@dataclass(frozen=True)
class Concept:
    """Two sets of prompts, unpaired: without the concept and with it.

    Attributes:
        name: such as ``watercolor``.
        source: prompts without the concept, about 32.
        target: prompts with it, about 32; other contents should be spread as in `source`.
        text: what a scorer compares pictures with, such as ``a picture in watercolor style``.
        neutral: the text without the concept that `text` is weighed against.
    """

    name: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    text: str
    neutral: str = "a picture of something"

    def __post_init__(self) -> None:
        for side, prompts in (("source", self.source), ("target", self.target)):
            if len(prompts) < 2:
                raise LineaError(
                    f"got {len(prompts)} {side} prompts for concept {self.name!r}: expected at least 2, better 32, "
                    "one per line"
                )

    @property
    def texts(self) -> StyleTexts:
        """What pictures are scored against."""
        return StyleTexts(self.name, self.text, self.neutral)

    @property
    def digest(self) -> str:
        """SHA-256 of the prompts, hexadecimal."""
        return hashlib.sha256("\n".join([*self.source, "->", *self.target]).encode()).hexdigest()


def list_concepts() -> list[str]:
    """Names of the concepts in the package."""
    folder = resources.files(__package__) / "concepts"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_concept(name_or_file: str | Path) -> Concept:
    """A concept of the package by name, or from a TOML file with keys name, source, target, text, neutral.

    Raises:
        LineaError: no such concept, or a file that does not hold one.
    """
    name = str(name_or_file)
    if name.endswith(".toml"):
        return _parse(read_text(Path(name)), name)
    file = resources.files(__package__) / "concepts" / f"{name.replace(' ', '-')}.toml"
    if not file.is_file():
        known = list_concepts()
        raise LineaError(
            f"got style {name!r}: expected one of {', '.join(known)}, or a .toml file; "
            f"nearest: {nearest_name(name, known)}"
        )
    return _parse(file.read_text(), name)


def concept_from_files(source: Path, target: Path, *, name: str, text: str | None = None) -> Concept:
    """A concept from two text files with one prompt per line (empty lines do not count)."""
    prompts = [_lines(file) for file in (source, target)]
    return Concept(name, prompts[0], prompts[1], text or name)


def _lines(file: Path) -> tuple[str, ...]:
    lines = tuple(line.strip() for line in read_text(file).splitlines() if line.strip())
    if len(lines) < 2:
        raise LineaError(f"got {len(lines)} prompts in {str(file)!r}: expected at least 2, better 32, one per line")
    return lines


def read_text(file: Path) -> str:
    """The text of a user's file.

    Raises:
        LineaError: it cannot be read as UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LineaError(f"got file {str(file)!r}: expected readable UTF-8 text ({error})") from None


def _parse(text: str, origin: str) -> Concept:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LineaError(f"got {origin!r}: expected a TOML file ({error})") from None
    known = {"name", "source", "target", "text", "neutral"}
    missing, unknown = {"name", "source", "target", "text"} - table.keys(), table.keys() - known
    if missing or unknown:
        raise LineaError(
            f"got {origin!r} without keys {sorted(missing)} and with unknown keys {sorted(unknown)}: expected "
            f"{sorted(known)}"
        )
    sides = {side: _prompts(table[side], side, origin) for side in ("source", "target")}
    return Concept(**{**table, **sides})


def _prompts(value: object, side: str, origin: str) -> Sequence[str]:
    if not isinstance(value, list) or not all(isinstance(prompt, str) for prompt in value):
        raise LineaError(f"got {side} {value!r:.60} in {origin!r}: expected a list of prompts")
    return tuple(value)
