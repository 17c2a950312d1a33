"""The one door for a user's files: regular files of bounded size, nothing that waits or never ends, and their text.

Text is decoded by its byte order mark or as UTF-8, or refused in one sentence.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from io import BufferedReader, TextIOWrapper
from pathlib import Path

from ..errors import LineaError, reason

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


# UTF-32's mark begins with UTF-16's, so that it is looked for first.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DAMAGED, _NON_ASCII = re.compile("[\udc80-\udcff]"), re.compile("[\x80-\ud7ff\ue000-\U0010ffff]")


def read_text(path: str | Path, *, what: str = "file", limit: int = 64 * MEBIBYTE) -> str:
    """The text of a file without its byte order mark, with line ends as ``\\n``.

    Args:
        path: of the file.
        what: what it is, for the error.
        limit: the most bytes that it may have.

    Raises:
        LineaError: it cannot be read, or is no text in UTF-8, nor in UTF-16 or UTF-32 with a byte order mark.
    """
    content = read_bytes(path, what=what, limit=limit)
    encoding = _encoding(content)
    if "8" in encoding:  # before decoding: UTF-16 without a mark is best known by its NULs
        _refuse_nul(content.decode("latin-1"), 1, path, what)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _no_text(path, what, f"bytes in line {line} that are no {encoding.upper()}") from None
    _refuse_nul(text, 1, path, what)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def text_encoding(path: str | Path, *, what: str = "file") -> str:
    """The encoding of a text file of any length, which is looked through to its end.

    In UTF-8 single lines may be damaged; where nothing beyond ASCII is UTF-8, the file is in another encoding.

    Args:
        path: of the file.
        what: what it is, for the error.

    Raises:
        LineaError: as `read_text`.
    """
    with open_regular(path, what=what) as file:
        return _looked_through(file, path, what)


def open_text(path: str | Path, encoding: str, *, what: str = "file") -> TextIOWrapper:
    """A text file of any length, opened where its text begins; line ends stay as they are.

    Args:
        path: of the file.
        encoding: of `text_encoding`. Bytes that are no UTF-8 come as lone surrogates, see `is_damaged`.
        what: what it is, for the error.

    Raises:
        LineaError: it cannot be read.
    """
    return TextIOWrapper(open_regular(path, what=what), encoding=encoding, errors="surrogateescape", newline="")


def is_damaged(text: str) -> bool:
    """Whether a text of `open_text` has bytes that are no UTF-8."""
    return bool(_DAMAGED.search(text))


def _encoding(start: bytes) -> str:
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), "utf-8")


def _looked_through(file: BufferedReader, path: str | Path, what: str) -> str:
    encoding = _encoding(file.peek(4))
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if "8" in encoding else "strict")
    lines, damaged, first, foreign = 1, 0, 0, True
    chunk: bytes | None = None
    while chunk != b"":
        chunk = file.read(MEBIBYTE)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError:
            raise _no_text(path, what, f"bytes after line {lines} that are no {encoding.upper()}") from None
        _refuse_nul(text, lines, path, what)
        if not text.isascii():
            places = [match.start() for match in _DAMAGED.finditer(text)]
            first = first or (lines + text.count("\n", 0, places[0]) if places else 0)
            damaged, foreign = damaged + len(places), foreign and not _NON_ASCII.search(text)
        lines += text.count("\n")
    if damaged > 1 and foreign:
        raise _no_text(path, what, f"bytes from line {first} on that are no UTF-8")
    return encoding


def _refuse_nul(text: str, line: int, path: str | Path, what: str) -> None:
    """Raise where a text, which begins in a line of that number, has a NUL."""
    if "\0" in text:
        place = line + text.count("\n", 0, text.index("\0"))
        raise _no_text(path, what, f"NUL characters from line {place} on, as UTF-16 without a mark has them")


def _no_text(path: str | Path, what: str, fault: str) -> LineaError:
    return LineaError(
        f"got {what} {str(path)!r} with {fault}: expected text in UTF-8 (or UTF-16 with a byte order mark); save it as "
        "UTF-8"
    )
