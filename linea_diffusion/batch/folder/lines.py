"""Files that survive a kill: whole lines are appended, a torn last one is taken off again, other files appear whole.

What cannot be written is a `LineaError`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...errors import LineaError, reason

_BLOCK = 1 << 16


class LineFile:
    """A file of JSON lines with one writer; it is made when missing, and what a kill left of a last line is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, _end_of_last_line(self._file))

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows that are on the disk when this returns; after an error the file is as before."""
        self.check()
        before = os.fstat(self._file).st_size
        with writing(self.path):
            try:
                _write_all(self._file, b"".join(map(line_of, rows)))
                os.fsync(self._file)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._file, before)
                raise

    def check(self) -> None:
        """Raise if somebody has removed the file meanwhile: what is appended to it would vanish with it."""
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


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that is never seen unfinished: under a hidden name first, to the disk, then by its own.

    After an error no part of it stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        try:
            file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                for piece in pieces:
                    _write_all(file, piece)
                os.fsync(file)
            finally:
                os.close(file)
            os.replace(partial, path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within the context a file is written, and what the system has against it is an error of the user's."""
    try:
        yield
    except OSError as error:
        raise LineaError(
            f"got {str(path)!r}: expected to write it ({reason(error)}); make room or mend the folder and start again, "
            "everything finished is kept"
        ) from None


def line_of(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSON."""
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def parsed(line: bytes | str) -> dict[str, Any] | None:
    """The object of a line; None for a damaged one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


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
