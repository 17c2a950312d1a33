"""Scores of pictures made anywhere: files, folders, and lists of files with their prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..concepts.concept import StyleTexts
from ..concepts.files import MEBIBYTE, read_text
from ..errors import LineaError
from ..progress import stage
from .figures import SCORES
from .formulas import score_pictures
from .images.opening import find_images, open_images
from .tables import write_table

if TYPE_CHECKING:
    from .clip_scorer import ClipScorer

_LONGEST_LIST = 1024 * MEBIBYTE
_LIST = ".jsonl"


@dataclass(frozen=True)
class Entry:
    """A picture to score.

    Attributes:
        image: its file.
        prompt: what it shall show, if known.
        reference: file of the unsteered picture, if there is one.
        facts: name -> value of what its line says of `CARRIED`, of the strength of each style, and of columns that a
            batch carried along.
    """

    image: Path
    prompt: str | None = None
    reference: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


CARRIED = ("file_name", "line", "seed", "style", "steering", "strength")
"""What a line says of how its picture was made, as grids and batches write it; columns of the table of scores."""
_ALSO_CARRIED = ("strength.", "meta.")


def find_entries(paths: Sequence[Path], *, prompt_key: str = "prompt", reference: Path | None = None) -> list[Entry]:
    """Pictures with their prompts and references.

    Args:
        paths: pictures, folders of them, or ``.jsonl`` files with a ``file_name`` (relative to the file's folder) and a
            prompt in each line. The ``metadata.jsonl`` of a folder gives its pictures their prompts, and names those in
            folders below, as the folder of a batch has them.
        prompt_key: of the prompt in a line.
        reference: a picture for all, or a folder with one for each under the same name.

    Raises:
        LineaError: a path that does not exist, a line that is not understood, a picture without its reference.
    """
    entries: list[Entry] = []
    for path in paths:
        if path.suffix.lower() == _LIST:
            entries += _listed(path, prompt_key)
        else:
            beside = path / "metadata.jsonl"
            listed = {one.image: one for one in _listed(beside, prompt_key)} if beside.is_file() else {}
            images = list(dict.fromkeys([*listed, *find_images([*listed, path])]))
            entries += [listed.get(image, Entry(image)) for image in images]
    return [replace(entry, reference=_reference(entry.image, reference)) for entry in entries]


def _listed(path: Path, prompt_key: str) -> list[Entry]:
    lines = read_text(path, what="list", limit=_LONGEST_LIST).split("\n")
    entries = [_entry(path, number, line, prompt_key) for number, line in enumerate(lines, 1) if line.strip()]
    if not entries:
        raise LineaError(f"got {str(path)!r} without a line: expected an object with file_name in each")
    return entries


def _entry(path: Path, number: int, line: str, prompt_key: str) -> Entry:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
        raise LineaError(f"got line {number} of {str(path)!r}: expected an object with a file_name")
    prompt = row.get(prompt_key)
    if prompt is not None and not isinstance(prompt, str):
        raise LineaError(f"got {prompt_key!r} in line {number} of {str(path)!r}: expected a text")
    if prompt is None and prompt_key != "prompt":
        raise LineaError(f"got no {prompt_key!r} in line {number} of {str(path)!r}: expected one of {', '.join(row)}")
    image = path.parent / row["file_name"]
    if image.is_dir():
        raise LineaError(f"got file_name {row['file_name']!r} in line {number} of {str(path)!r}: expected a picture")
    names = [*CARRIED, *(name for name in row if name.startswith(_ALSO_CARRIED))]
    facts = {name: _plain(row[name]) for name in names if row.get(name) not in (None, "", [])}
    return Entry(find_images([image])[0], prompt, facts=facts)


def _plain(value: Any) -> Any:
    """A list of one as what is in it, longer ones as JSON."""
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _reference(image: Path, reference: Path | None) -> Path | None:
    if reference is None:
        return None
    file = reference / image.name if reference.is_dir() else reference
    if not file.is_file():
        raise LineaError(f"got no reference {str(file)!r} for {str(image)!r}: expected one under the same name")
    return file


def score_entries(entries: Sequence[Entry], scorer: ClipScorer, texts: StyleTexts | None) -> list[dict[str, float]]:
    """Per entry those of the `SCORES` that are known: with `texts`, a prompt, a reference. Batch by batch.

    Raises:
        LineaError: entries of which nothing can be known, or a file that is not a picture.
    """
    if texts is None and not any(entry.prompt or entry.reference for entry in entries):
        raise LineaError("got pictures without prompts, and no text: expected a text to compare with, or a reference")

    def embed(files: Sequence[Path]) -> torch.Tensor:
        return scorer.embed_images(open_images(files, background=scorer.background))

    scores: list[dict[str, float]] = []
    with stage("score", len(entries), unit="picture") as going:
        for start in range(0, len(entries), scorer.batch_size):
            batch = entries[start : start + scorer.batch_size]
            files = [entry.reference for entry in batch if entry.reference]
            references = iter(embed(files) if files else ())
            scores += score_pictures(
                scorer, embed([entry.image for entry in batch]), texts=texts, prompts=[entry.prompt for entry in batch],
                references=[next(references) if entry.reference else None for entry in batch],
            )  # fmt: skip
            going.update(len(batch))
    return scores


def write_entries(entries: Sequence[Entry], scores: Sequence[Mapping[str, float]], path: Path | None) -> None:
    """One line per picture, with what its own line said of seed, style and strength; see `write_table`."""
    names = [name for name in SCORES if any(name in one for one in scores)]
    carried = dict.fromkeys(name for entry in entries for name in entry.facts)
    rows = [
        {"image": str(entry.image), "prompt": entry.prompt, **{name: entry.facts.get(name) for name in carried},
         **{name: one.get(name) for name in names}}
        for entry, one in zip(entries, scores, strict=True)
    ]  # fmt: skip
    write_table(rows, path)
