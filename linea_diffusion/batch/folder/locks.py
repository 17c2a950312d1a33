"""One process at a time fills a folder; a second one is refused."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import LineaError
from .folder import Folder

try:
    import fcntl
except ImportError:  # not on Windows, where two runs in one folder go unnoticed
    fcntl = None  # type: ignore[assignment]

_HELD: dict[Path, int] = {}
"""Lock file -> open file of this process."""


def take(folder: Folder) -> None:
    """From now on this process alone fills the folder, which is made when missing; object stores have no locks.

    The system itself lets go when a process is killed. To take what this process has already does nothing.

    Raises:
        LineaError: another process has it, or the folder cannot be written.
    """
    path = _lock_of(folder)
    if not folder.is_local or path in _HELD:
        return
    folder.prepare()
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if not _lock(file):
        os.close(file)
        raise LineaError(
            f"got output folder {folder.name!r}, where another batch is running: wait for it, choose another folder, "
            "or let each process do its part with --shard I/N"
        )
    _HELD[path] = file


def release(folder: Folder) -> None:
    """Let another process fill the folder; nothing happens if it was not taken."""
    file = _HELD.pop(_lock_of(folder), None)
    if file is not None:
        os.close(file)


def _lock_of(folder: Folder) -> Path:
    return (folder.here / ".linea" / "lock-0").resolve()


def _lock(file: int) -> bool:
    """Try to lock; False if another process has it. File systems that cannot lock let everybody through."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
