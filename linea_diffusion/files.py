"""The one door for a user's files: regular files of bounded size, nothing that waits or never ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import LineaError
from .wording import reason

MEBIBYTE = 2**20
# Without O_NONBLOCK opening a named pipe waits for somebody to write; the flags are missing on some systems.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def read_bytes(path: str | Path, *, what: str = "file", limit: int = 64 * MEBIBYTE) -> bytes:
    """What a regular file holds.

    Args:
        path: of the file, or of a link to one.
        what: what it is, for the error: ``got <what> '<path>': expected ...``.
        limit: the most bytes that such a file can sensibly have.

    Raises:
        LineaError: there is none, it cannot be read, it is larger than `limit`, or it is no regular file: a folder, a
            named pipe, a device.
    """
    try:
        return _content(path, limit)
    except (OSError, ValueError) as error:
        raise LineaError(f"got {what} {str(path)!r}: expected a readable {what} ({reason(error)})") from None


def _content(path: str | Path, limit: int) -> bytes:
    file = os.open(path, _FLAGS)
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError("it is a folder, a pipe or a device, and only regular files are read")
        if facts.st_size > limit:
            raise OSError(f"it has more than {limit / MEBIBYTE:g} MiB")
    except OSError:
        os.close(file)
        raise
    with open(file, "rb") as opened:
        return opened.read()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it, so that a rename afterwards never shows half of it.

    Raises:
        OSError: it cannot be written, also where a full disk or a quota is noticed late.
    """
    path.write_bytes(content)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
