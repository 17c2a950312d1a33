"""The one door for a user's files: regular files of bounded size, nothing that waits or never ends."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from .errors import LineaError
from .wording import reason

MEBIBYTE = 2**20
# Without O_NONBLOCK opening a named pipe waits for somebody to write; the flags are missing on some systems.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | Path, *, what: str = "file") -> BufferedReader:
    """A regular file, opened for reading.

    Args:
        path: of the file, or of a link to one.
        what: what it is, for the error: ``got <what> '<path>': expected ...``.

    Raises:
        LineaError: there is none, it cannot be read, or it is no regular file: a folder, a named pipe, a device.
    """
    try:
        file = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or reason(error)
        raise LineaError(f"got {what} {str(path)!r}: expected a readable {what} ({why})") from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise LineaError(
            f"got {what} {str(path)!r}: expected a readable {what}, a regular file (it is a folder, a pipe or a device)"
        )
    return open(file, "rb")


def read_bytes(path: str | Path, *, what: str = "file", limit: int = 64 * MEBIBYTE) -> bytes:
    """What a regular file holds.

    Args:
        path: of the file, or of a link to one.
        what: what it is, for the error.
        limit: the most bytes that such a file can sensibly have.

    Raises:
        LineaError: as `open_regular`, or a file larger than `limit`.
    """
    with open_regular(path, what=what) as file:
        # asked first: reading with a limit takes the memory of the limit
        if os.fstat(file.fileno()).st_size > limit:
            raise LineaError(
                f"got {what} {str(path)!r} of more than {limit / MEBIBYTE:g} MiB: expected at most that; it is no such "
                "file"
            )
        try:
            return file.read()
        except OSError as error:
            raise LineaError(f"got {what} {str(path)!r}: expected a readable {what} ({reason(error)})") from None


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it, so that a rename afterwards never shows half of it.

    Raises:
        OSError: it cannot be written, also where a full disk or a quota is noticed late.
    """
    path.write_bytes(content)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
