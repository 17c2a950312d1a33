"""Files that survive a kill: whole lines are appended, a torn last one is taken off again, other files appear whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
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
            _write_all(self._file, data)
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


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is never seen unfinished: under a hidden name first, to the disk, then by its own.

    Raises:
        LineaError: it cannot be written; no part of it stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = _create(partial)
        try:
            _write_all(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def parsed(line: bytes | str) -> dict[str, Any] | None:
    """The object of a line; None for a damaged one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _create(partial: Path) -> int:
    """Open a new file. Its folder is made when missing, the one above is not: that it is gone is an error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(partial, flags, 0o644)
    except FileNotFoundError:
        with suppress(FileExistsError):
            partial.parent.mkdir()
        return os.open(partial, flags, 0o644)


def _write_all(file: int, data: bytes) -> None:
    """Write all of the data, in as many pieces as the system wants."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


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
        f"got {str(path)!r}: expected to write it ({reason(error)}); make room or mend the folder and start again, "
        "everything finished is kept"
    )
