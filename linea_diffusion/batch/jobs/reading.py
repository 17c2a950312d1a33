"""Reading jobs one at a time from JSON lines, CSV, plain text, or any iterable; a bad line does not end it."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from ...concepts.files import is_damaged, open_text, text_encoding
from ...errors import LineaError, as_python, reason, short
from .field_names import WrittenNumber
from .fields import check_nesting

Fields = dict[str, Any]
Line = tuple[int, Fields | LineaError]
"""The number of a line, from 1, and the fields of its job or what is wrong with it."""
_DAMAGED = "got bytes that are no UTF-8: expected UTF-8 text"


def read_jobs(source: str | Path | Iterable[Mapping[str, Any] | str]) -> Iterator[Line]:
    """The jobs of a file or an iterable, one at a time.

    Args:
        source: a ``.jsonl`` file (an object each line), a ``.csv`` file (the first line names the fields, an empty cell
            is left out), a ``.txt`` file (a prompt each line), a DataFrame (a job each row; an index that has a name is
            a column), or an iterable of dicts or prompts. Blank lines do not count, and what is None, null or NaN is
            left out.

    Raises:
        LineaError: a file that cannot be read, or of no known format. What is wrong with one line is yielded in its
            place.
    """
    if not isinstance(source, str | Path):
        return enumerate(map(_job, _rows(source)), start=1)
    path = Path(source)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise LineaError(f"got jobs {str(path)!r}: expected a file ending in one of {', '.join(READERS)}")
    return _from_file(reader, path, text_encoding(path, what="jobs file"))


def _from_file(reader: Callable[[TextIO, Path], Iterator[Line]], path: Path, encoding: str) -> Iterator[Line]:
    try:
        with open_text(path, encoding, what="jobs file") as file:
            yield from reader(file, path)
    except OSError as error:
        raise LineaError(f"got jobs {str(path)!r}: expected a readable file ({reason(error)})") from None


def _rows(jobs: Any) -> Iterable[Any]:
    """The rows of a DataFrame as dicts, which itself gives the names of its columns; other jobs as they are."""
    if not hasattr(jobs, "itertuples"):
        return jobs
    table = jobs.reset_index() if any(name is not None for name in jobs.index.names) else jobs
    names = list(table.columns)
    if len(set(names)) < len(names):
        raise LineaError(f"got columns {', '.join(map(str, names))}: expected different names")
    return (dict(zip(names, row, strict=True)) for row in table.itertuples(index=False, name=None))


def _job(job: Any) -> Fields | LineaError:
    """A job of an iterable, with Python's own numbers instead of numpy's and torch's."""
    if isinstance(job, str):
        return {"prompt": job}
    if not isinstance(job, Mapping):
        return LineaError(f"got {short(job)} as a job: expected a dict or a prompt")
    try:
        check_nesting(job)
        return _said(as_python(job))
    except LineaError as error:
        return error


def _said(fields: Mapping[str, Any]) -> Fields:
    """The fields that say something: tables have None, NaN or pandas' NA and NaT where they say nothing."""
    return {name: value for name, value in fields.items() if not _is_missing(value)}


def _is_missing(value: Any) -> bool:
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _lines(file: TextIO, path: Path, read: Callable[[str], Fields | LineaError]) -> Iterator[Line]:
    """What each line of a file says."""
    for number, line in enumerate(file, start=1):
        if is_damaged(line):
            yield number, LineaError(_DAMAGED)
        elif text := line.strip():
            yield number, read(text)


def _object(text: str) -> Fields | LineaError:
    try:
        fields = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        return LineaError(f"got {short(text)}: expected one JSON object a line ({reason(error)})")
    if not isinstance(fields, dict):
        return LineaError(f'got {short(text)}: expected a JSON object such as {{"prompt": "a red heart"}}')
    return _said(fields)


def _each_once(pairs: list[tuple[str, Any]]) -> Fields:
    """An object of JSON, where a name that stands there twice would quietly mean its last value."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{short(twice)} stands there twice")
    return fields


def _csv(file: TextIO, path: Path) -> Iterator[Line]:
    rows = csv.reader(file, strict=True, skipinitialspace=True)
    header: list[str] = []
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, LineaError(f"got a row that is no CSV ({reason(error)}): mend its quotes")
            continue
        if row and header:
            yield number, _cells(header, row)
        elif row:
            header = _header(row, path)


def _header(row: list[str], path: Path) -> list[str]:
    names = [name.strip() or "index" for name in row]  # pandas leaves the name of its index empty
    if "prompt" not in names or len(set(names)) != len(names):
        raise LineaError(
            f"got columns {', '.join(names)} in {str(path)!r}: expected a header with different names, one of them "
            "'prompt'"
        )
    return names


def _cells(header: list[str], row: list[str]) -> Fields | LineaError:
    if len(row) != len(header):
        return LineaError(
            f"got {len(row)} columns: expected {len(header)}, {', '.join(header)}; put text that has commas in double "
            "quotes"
        )
    if any(map(is_damaged, row)):
        return LineaError(_DAMAGED)
    return _said({name: _value(name, text) for name, cell in zip(header, row, strict=True) if (text := cell.strip())})


def _value(name: str, cell: str) -> Any:
    """A cell as JSON would say it, where it does; prompts are always text."""
    if name.startswith(("prompt", "negative_prompt")):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return WrittenNumber(cell) if isinstance(value, float) and "e" in cell.lower() else value


READERS: dict[str, Callable[[TextIO, Path], Iterator[Line]]] = {
    ".jsonl": partial(_lines, read=_object),
    ".csv": _csv,
    ".txt": partial(_lines, read=lambda text: {"prompt": text}),
}
"""Ending of a file of jobs -> its reader."""
