"""Files of JSON lines that survive a kill: whole lines are appended, a torn last one is taken off again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import LineaError, reason

_BLOCK = 1 << 16


class LineFile:
    """A file of JSON lines with one writer.

    Args:
        path: made when missing; what a kill left of a last line is cut off.

    Raises:
        LineaError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, _end_of_last_line(self._file))
        except OSError as error:
            raise _unwritable(path, error) from None

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows that are on the disk when this returns.

        Raises:
            LineaError: they cannot be written; the file is as before.
        """
        self.check()
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "surrogatepass")
        before = os.fstat(self._file).st_size
        try:
            write_all(self._file, data)
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, before)
            raise _unwritable(self.path, error) from None

    def check(self) -> None:
        """Raise if somebody has removed the file meanwhile: what is appended to it would vanish with it.

        Raises:
            LineaError: it is gone.
        """
        try:
            there = os.path.samestat(os.fstat(self._file), os.stat(self.path))
        except OSError:
            there = False
        if not there:
            raise LineaError(
                f"got {str(self.path)!r} removed while a batch was running: expected it to stay; start again, "
                "images whose lines were in it are made again"
            )

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def write_all(file: int, data: bytes) -> None:
    """Write all of the data, in as many pieces as the system wants."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The whole lines of a file, each with the offset where it begins; None for one that is damaged.

    A last line without its end does not count: its writer was killed, or is about to go on.
    """
    offset = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield offset, _row(line)
                offset += len(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LineaError(f"got {str(path)!r}: expected a readable file ({reason(error)})") from None


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _end_of_last_line(file: int) -> int:
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - _BLOCK)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _unwritable(path: Path, error: OSError) -> LineaError:
    return LineaError(
        f"got {str(path)!r}: expected to write there ({reason(error)}); make room or mend the folder and start again, "
        "everything finished is kept"
    )
