"""Files that hold a concept: TOML, JSON lines, CSV, and plain text with one prompt per line."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import LineaError, reason, short
from .files import read_text
from .levels import Level
from .prompt_values import EXAMPLES, FACTS, SIDES, Prompts, as_side, check_fact, check_list, check_prompt, level_of


def prompt_lines(file: Path) -> tuple[str, ...]:
    """The prompts of a plain text file, one per line; empty lines do not count.

    Raises:
        LineaError: it cannot be read, or holds fewer than 2.
    """
    lines = tuple(line.strip() for line in read_text(file, what="prompt file").split("\n") if line.strip())
    if len(lines) < 2:
        raise LineaError(f"got {len(lines)} prompts in {str(file)!r}: expected at least 2, better 32, one per line")
    return lines


def concept_fields(text: str, origin: str) -> dict[str, Any]:
    """The fields of a `Concept` from the text of a file, checked.

    Args:
        text: what the file holds.
        origin: its name: the suffix chooses the format, errors and missing names use it.

    Raises:
        LineaError: the text is not of that format; the error names file, line and key or column.
    """
    return _READERS[Path(origin).suffix.lower()](text, origin)


def _toml(text: str, origin: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise LineaError(f"got {origin!r}: expected a TOML file ({reason(error)})") from None
    _check_keys(table, text, origin)
    fields: dict[str, Any] = {
        key: check_fact(table[key], key, _key_place(key, text, origin)) for key in table if key in FACTS
    }
    for side in SIDES:
        fields[side] = check_list(table[side], side, _key_place(side, text, origin))
    if "levels" in table:
        fields["levels"] = _toml_levels(table["levels"], fields["source"], text, origin)
    return fields


def _toml_levels(tables: Any, source: tuple[str, ...], text: str, origin: str) -> tuple[Level, ...]:
    if not isinstance(tables, list):
        place = _key_place("levels", text, origin)
        raise LineaError(f"got {short(tables)} for 'levels' in {place}: expected tables that begin with [[levels]]")
    numbered = enumerate(tables, start=1)
    return tuple(
        level_of(entry, source, f"level {number}, {_key_place('levels', text, origin, number)}")
        for number, entry in numbered
    )


def _check_keys(table: Mapping[str, Any], text: str, origin: str) -> None:
    names = (*FACTS, *SIDES, "levels")
    for key in table:
        if key not in names:
            place = _key_place(key, text, origin)
            raise LineaError(f"got unknown key {key!r} in {place}: expected only {', '.join(names)}")
    for key in ("name", "text", *SIDES):
        if key not in table:
            raise LineaError(f"got no key {key!r} in {origin!r}: expected it; add a line such as {EXAMPLES[key]}")


def _key_place(key: str, text: str, origin: str, number: int = 1) -> str:
    """The line of a key, or of its `number`-th table where there are several."""
    pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[=\].]""")
    lines = [at for at, line in enumerate(text.split("\n"), start=1) if pattern.match(line)]
    return f"line {[*lines[number - 1 : number], *lines, 1][0]} of {origin!r}"


def _jsonl(text: str, origin: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    prompts = Prompts()
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    for position, (number, line) in enumerate(numbered):
        place = f"line {number} of {origin!r}"
        row = _object(line, place)
        if position == 0 and row and row.keys() <= set(FACTS):
            fields = {key: check_fact(value, key, place) for key, value in row.items()}
            continue
        if unknown := row.keys() - {"prompt", "side"}:
            hint = f"; {', '.join(FACTS)} can only stand in an object of their own in the first line"
            raise LineaError(f"got unknown key {min(unknown)!r} in {place}: expected 'prompt' and 'side'{hint}")
        for key in ("prompt", "side"):
            if key not in row:
                raise LineaError(f'got no key {key!r} in {place}: expected {{"prompt": "a red cat", "side": "source"}}')
        prompts.add(as_side(row["side"], place), check_prompt(row["prompt"], f"'prompt', {place}"))
    return _named(fields, prompts, origin)


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineaError(f"got {short(line)} in {place}: expected one JSON object per line ({reason(error)})") from None
    if not isinstance(row, dict):
        raise LineaError(f"got {short(line)} in {place}: expected a JSON object with 'prompt' and 'side'")
    return row


def _csv(text: str, origin: str) -> dict[str, Any]:
    prompts = Prompts()
    rows = _csv_rows(text, origin)
    header = _header(*next(rows, ([], f"line 1 of {origin!r}")))
    for row, place in rows:
        if len(row) != 2:
            hint = "put a prompt that has commas in double quotes"
            raise LineaError(f"got {len(row)} columns in {place}: expected 2, {', '.join(header)}; {hint}")
        cells = dict(zip(header, row, strict=True))
        prompts.add(as_side(cells["side"], place), check_prompt(cells["prompt"], f"column 'prompt', {place}"))
    return _named({}, prompts, origin)


def _csv_rows(text: str, origin: str) -> Iterator[tuple[list[str], str]]:
    """The rows that are not blank, each with the place where it begins."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    before = 0
    try:
        for row in rows:
            if row:
                yield row, f"line {before + 1} of {origin!r}"
            before = rows.line_num
    except csv.Error as error:
        place = f"line {before + 1} of {origin!r}"
        raise LineaError(f"got a row that begins in {place}: expected CSV ({error}); mend its quotes") from None


def _header(row: list[str], place: str) -> list[str]:
    if sorted(row) != ["prompt", "side"]:
        raise LineaError(f"got columns {row} in {place}: expected a header side,prompt")
    return row


def _named(fields: Mapping[str, Any], prompts: Prompts, origin: str) -> dict[str, Any]:
    """Fields with a name and a text: the file's name where they are not given."""
    name = fields.get("name", Path(origin).stem)
    return {"name": name, "text": name, **fields, **prompts.fields()}


_READERS = {".toml": _toml, ".jsonl": _jsonl, ".csv": _csv}
SUFFIXES = tuple(_READERS)
