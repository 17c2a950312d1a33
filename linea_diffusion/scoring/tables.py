"""Tables, with conventions in a file beside them; a spreadsheet shows their texts as texts and gives them back."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..concepts.files import open_text, text_encoding
from ..errors import LineaError, reason
from .figures import described

_CSV, _LINES = ".csv", ".jsonl"

# What spreadsheets take for the beginning of a formula, also behind quotes that were put before it; but not a number.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_NUMBER = re.compile(r"-\d+(\.\d+)?(e[+-]?\d+)?")


def check_table_name(path: Path) -> None:
    """Whether a table can have this name.

    Raises:
        LineaError: an ending of no known format.
    """
    if path.suffix.lower() not in (_CSV, _LINES):
        raise LineaError(f"got {str(path)!r}: expected a file name ending in {_CSV} or {_LINES}")


def write_table(rows: Sequence[Mapping[str, Any]], path: Path | None) -> None:
    """Write rows of texts, numbers and None (an empty cell), and beside them what their figures mean.

    Numbers are written with 5 decimals; in CSV a text like a formula gets a single quote before it. What the
    columns mean stands in ``NAME.columns.json``, see `write_conventions`.

    Args:
        rows: column -> value, the same columns in each.
        path: where to, CSV or JSON lines (``.jsonl``) by the ending; None is standard output.

    Raises:
        LineaError: a place that cannot be written.
    """
    values = [{name: _rounded(value) for name, value in row.items()} for row in rows]
    try:
        with path.open("w", newline="", encoding="utf-8") if path else nullcontext(sys.stdout) as file:
            if path and path.suffix.lower() == _LINES:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in values)
            else:
                lines = [list(values[0]), *(row.values() for row in values)] if values else []
                csv.writer(file).writerows(map(_as_text, line) for line in lines)
        if path and rows:
            write_conventions(path, list(rows[0]))
    except OSError as error:
        raise LineaError(f"got {str(path)!r}: expected a place for a table ({reason(error)})") from None


def write_conventions(table: Path, columns: Sequence[str], *, hidden: bool = False) -> None:
    """Write what the columns of a table mean into ``NAME.columns.json`` beside it: convention, range and meaning.

    Args:
        table: its file.
        columns: its names; those that are neither figures nor known facts are left out.
        hidden: begin the name with a dot, so that an image folder stays one to the library datasets.
    """
    facts = {"table": table.name, "columns": described(columns)}
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    table.with_name(f"{'.' if hidden else ''}{table.stem}.columns.json").write_text(text, encoding="utf-8")


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file of `write_table`, by column; of earlier ones too, whose headers said conventions.

    Raises:
        LineaError: it cannot be read, or is no CSV.
    """
    try:
        with open_text(path, text_encoding(path, what="table"), what="table") as file:
            head, *rows = [[_as_written(cell) for cell in row] for row in csv.reader(file) if row]
        names = [name.partition(" (")[0] for name in head]
        return [dict(zip(names, row, strict=True)) for row in rows]
    except LineaError:
        raise
    except (csv.Error, ValueError) as error:
        raise LineaError(
            f"got table {str(path)!r}: expected CSV with a header and full rows ({reason(error)})"
        ) from None


def _rounded(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value


def _as_text(cell: Any) -> Any:
    formula = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if formula else cell


def _as_written(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
