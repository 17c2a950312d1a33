"""Concepts as data: what to steer from and to, in prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from ..errors import LineaError, nearest_hint, short
from .files import read_text
from .levels import Level, check_level_strength, check_levels, fill_template
from .pairing import check_pairs, rows_match
from .prompt_checks import check_prompts, check_side
from .prompt_files import SUFFIXES, concept_fields, prompt_lines
from .prompt_values import KINDS, SIDES
from .signs import hint_at_syntax

WORLDS = {
    "shapeland": "for the embedded models",
    "wordland": "for the embedded language model",
    "real": "for Stable Diffusion, SDXL, FLUX and others that know the real world",
}
"""What the packaged concepts are about -> which models they are for."""
NEUTRAL = "a picture of something"


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
    neutral: str = NEUTRAL


@dataclass(frozen=True)
class Concept:
    """Two sets of prompts: those to steer from and those to steer to, best in pairs.

    For a style or a perspective the target prompts have it; for an object to remove the source prompts do. In pairs,
    row i of both names the same content.

    Attributes:
        name: such as ``watercolor``.
        source: prompts to steer from, about 32.
        target: prompts to steer to, about 32; in pairs, or else with contents that are spread as in `source`.
        text: what a scorer compares pictures with: the style in words, or the object that goes.
        neutral: the text without the concept that `text` is weighed against.
        kind: one of `KINDS`: ``style``, ``object removal`` or ``perspective``.
        levels: prompts that ask for less of the concept, of rising strength, each with a prompt for every target.

    Raises:
        LineaError: fewer than 2 prompts on a side, the same prompts on both sides, a prompt that is no text, an
            unknown kind, levels that do not rise or have another count of prompts than `target`.
    """

    name: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    text: str
    neutral: str = NEUTRAL
    kind: str = "style"
    levels: tuple[Level, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LineaError(f"got kind {self.kind!r} for concept {self.name!r}: expected one of {', '.join(KINDS)}")
        for side in SIDES:
            check_side(getattr(self, side), side, self.name)
        check_levels(self.levels, self.target, self.name)
        targets = [prompt for level in self.levels for prompt in level.target]
        hint_at_syntax([*self.source, *self.target, *targets], stacklevel=5)
        if set(self.source) == set(self.target):
            raise LineaError(
                f"got the same prompts as source and as target of concept {self.name!r}: expected two sets that "
                "differ by the concept; nothing can be learned from these"
            )

    @classmethod
    def from_template(
        cls,
        source: Sequence[str],
        template: str,
        *,
        name: str | None = None,
        text: str | None = None,
        neutral: str = NEUTRAL,
        kind: str = "style",
        levels: Mapping[float, str] | None = None,
    ) -> Concept:
        """A concept whose targets are the sources put into a template, in pairs.

        Args:
            source: prompts to steer from, about 32.
            template: such as ``{prompt}, neon``.
            name: the words of the template around ``{prompt}`` when left out.
            text: what a scorer compares pictures with; `neutral` put into the template when left out.
            neutral: the text without the concept that `text` is weighed against.
            kind: one of `KINDS`.
            levels: strength -> a template that asks for less, such as ``{0.5: "{prompt}, slightly neon"}``.

        Raises:
            LineaError: a template without ``{prompt}``, a strength that is not between 0 and 1, or prompts that make no
                concept.
        """
        words = fill_template(template, [""])[0].strip(" ,.:;")
        name = name or words or "concept"
        check_prompts(source, "source", f"for concept {name!r}")
        templates = {check_level_strength(strength): one for strength, one in (levels or {}).items()}
        return cls(
            name,
            tuple(source),
            fill_template(template, source),
            text or fill_template(template, [neutral])[0],
            neutral,
            kind,
            tuple(
                Level(strength, fill_template(templates[strength], source, f"a template of level {strength}"))
                for strength in sorted(templates)
            ),
        )

    @property
    def is_paired(self) -> bool:
        """Whether row i of source and target name the same content, as far as words tell; see `rows_match`."""
        return rows_match(self.source, self.target)

    def check_pairs(self) -> None:
        """Check that the rows are pairs.

        Raises:
            LineaError: they are not; the error names the first row that does not match, and its nearest target.
        """
        check_pairs(self.source, self.target, self.name)

    @property
    def texts(self) -> StyleTexts:
        """What pictures are scored against."""
        return StyleTexts(self.name, self.text, self.neutral)

    @property
    def digest(self) -> str:
        """SHA-256 of the prompts, hexadecimal; levels count where there are any."""
        lines = [*self.source, "->", *self.target]
        for level in self.levels:
            lines += [f"-> {level.strength}", *level.target]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def list_concepts(kind: str | None = None, *, world: str | None = None) -> list[str]:
    """Names of the concepts in the package, sorted: those for pictures, unless a world is named.

    Args:
        kind: only those of a kind: ``style``, ``object removal`` or ``perspective``.
        world: only those for the embedded models (``shapeland``), for the embedded language model (``wordland``), or
            for models such as SDXL (``real``).

    Raises:
        LineaError: unknown kind or world.
    """
    if kind is not None and kind not in KINDS:
        raise LineaError(f"got kind {kind!r}: expected one of {', '.join(KINDS)}")
    if world is not None and world not in WORLDS:
        raise LineaError(f"got world {world!r}: expected one of {', '.join(WORLDS)}")
    worlds = (world,) if world else ("shapeland", "real")
    names = [name for one in worlds for name in _packaged(one)]
    return sorted(name for name in names if kind is None or load_concept(name).kind == kind)


def load_concept(name_or_file: str | Path) -> Concept:
    """A concept of the package by name, or from a file.

    Args:
        name_or_file: a name of `list_concepts`, or a path that ends in
            ``.toml`` (keys name, text, source and target, and optionally neutral, kind, and tables levels with strength
            and target or template),
            ``.jsonl`` (objects with prompt and side; the first may hold name, text, neutral and kind instead), or
            ``.csv`` (columns side and prompt). Without a name and a text the file's name is both. In these two a side
            may be ``level 0.5``.

    Raises:
        LineaError: no such concept, or a file that does not hold one; the error names the line.
    """
    name = str(name_or_file)
    if Path(name).suffix.lower() in SUFFIXES:
        return _read(Path(name))
    packaged = {title: file for world in WORLDS for title, file in _packaged(world).items()}
    file = packaged.get(name.replace(" ", "-"))
    if file is None:
        raise LineaError(
            f"got concept {short(name)}: expected one of the {len(packaged)} that `linea concepts` lists, or a file "
            f"that ends in {', '.join(SUFFIXES)} (`linea concepts --template` writes one); for a style of your own: "
            f"--source prompts.txt --template '{{prompt}}, {short(name)[1:-1]}', in Python Concept.from_template"
            f"{nearest_hint(name, packaged)}"
        )
    return Concept(**concept_fields(file.read_text(encoding="utf-8"), file.name))


def concept_from_files(
    source: Path, target: Path, *, name: str, text: str | None = None, neutral: str = NEUTRAL
) -> Concept:
    """A concept from two text files with one prompt per line (empty lines do not count).

    Args:
        source: file of the prompts to steer from.
        target: file of those to steer to.
        name: of the concept.
        text: what a scorer compares pictures with; the name when left out.
        neutral: the text without the concept that `text` is weighed against.

    Raises:
        LineaError: a file that cannot be read, fewer than 2 prompts, or the same prompts in both files.
    """
    return Concept(name, prompt_lines(source), prompt_lines(target), text or name, neutral)


def _packaged(world: str) -> dict[str, Traversable]:
    folder = resources.files(__package__)
    if world != "shapeland":
        folder = folder / world
    return {file.name.removesuffix(".toml"): file for file in folder.iterdir() if file.name.endswith(".toml")}


def _read(file: Path) -> Concept:
    fields = concept_fields(read_text(file, what="concept file"), str(file))
    try:
        return Concept(**fields)
    except LineaError as error:
        raise LineaError(f"{error} (in {str(file)!r})") from None
