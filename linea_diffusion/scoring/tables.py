"""CSV tables whose texts a spreadsheet shows as texts, whatever they begin with, and that come back as they were."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..concepts.files import open_text, text_encoding
from ..errors import LineaError, reason

# What spreadsheets take for the beginning of a formula, also behind quotes that were put before it; but not a number.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_NUMBER = re.compile(r"-\d+(\.\d+)?(e[+-]?\d+)?")


def write_csv(rows: Iterable[Sequence[Any]], path: Path | None) -> None:
    """Write rows of texts, numbers and None (an empty cell); a text like a formula gets a single quote before it.

    Args:
        rows: the header first.
        path: where to; None is standard output.

    Raises:
        LineaError: a place that cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") if path else nullcontext(sys.stdout) as file:
            csv.writer(file).writerows(map(_as_text, row) for row in rows)
    except OSError as error:
        raise LineaError(f"got {str(path)!r}: expected a place for a table ({reason(error)})") from None


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table of `write_csv` below its header, by column.

    Raises:
        LineaError: it cannot be read, or is no CSV.
    """
    try:
        with open_text(path, text_encoding(path, what="table"), what="table") as file:
            header, *rows = [[_as_written(cell) for cell in row] for row in csv.reader(file) if row]
        return [dict(zip(header, row, strict=True)) for row in rows]
    except LineaError:
        raise
    except (csv.Error, ValueError) as error:
        raise LineaError(
            f"got table {str(path)!r}: expected CSV with a header and full rows ({reason(error)})"
        ) from None


def _as_text(cell: Any) -> Any:
    formula = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if formula else cell


def _as_written(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
