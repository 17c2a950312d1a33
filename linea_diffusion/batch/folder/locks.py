"""One process at a time fills a folder; a second one is refused."""

from __future__ import annotations

import os

from ...errors import LineaError
from .folder import Folder

try:
    import fcntl
except ImportError:  # not on Windows, where two runs in one folder go unnoticed
    fcntl = None  # type: ignore[assignment]

_HELD: dict[str, int] = {}
"""Folder -> its lock file, open in this process; the system itself lets go when a process is killed."""


def take(folder: Folder) -> None:
    """From now on this process alone fills the folder, which is made when missing; to take it again does nothing.

    Raises:
        LineaError: another process has it, or the folder cannot be written.
    """
    place = os.path.realpath(folder.root)
    if not folder.is_local or place in _HELD:  # object stores have no locks
        return
    folder.prepare()
    file = os.open(folder.path(".linea/lock-0"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise LineaError(
            f"got output folder {folder.name!r}, where another batch is running: wait for it, choose another folder, "
            "or let each process do its part with --shard I/N"
        ) from None
    except OSError:
        pass  # file systems that cannot lock let everybody through
    _HELD[place] = file


def release(folder: Folder) -> None:
    """Let another process fill the folder; nothing happens if it was not taken."""
    file = _HELD.pop(os.path.realpath(folder.root), None)
    if file is not None:
        os.close(file)
