"""Locks on the output folder: no two processes do the same share, and the last one to finish knows that it is."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ...errors import LineaError, reason
from .layout import Layout, rank_of
from .shares import Share

try:
    import fcntl
except ImportError:  # not on Windows, where two runs in one folder go unnoticed
    fcntl = None  # type: ignore[assignment]

_HELD: dict[Path, int] = {}
"""Lock file -> open file of this process."""
_TRIES, _PAUSE = 5, 0.05


def take_share(layout: Layout, share: Share) -> None:
    """From now on this process alone does this share of the work in a folder, which is made when missing.

    The system itself lets go when a process is killed. To take what this process has already does nothing.

    Raises:
        LineaError: another process has it, or the folder cannot be written.
    """
    path = layout.lock(share.rank).resolve()
    if path in _HELD:
        return
    try:
        layout.check()
        layout.hidden.mkdir(parents=True, exist_ok=True)
        layout.probe(share.rank)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except (OSError, ValueError) as error:
        if isinstance(error, LineaError):
            raise
        raise LineaError(
            f"got output folder {str(layout.folder)!r}: expected a writable place ({reason(error)})"
        ) from None
    if not _lock_patiently(file):
        os.close(file)
        raise LineaError(
            f"got output folder {str(layout.folder)!r}, where another batch is running as process {share.rank}: "
            "wait for it, or choose another folder"
        )
    _HELD[path] = file


def release_share(layout: Layout, share: Share) -> None:
    """Let another process do this share; nothing happens if it was not taken."""
    file = _HELD.pop(layout.lock(share.rank).resolve(), None)
    if file is not None:
        os.close(file)


def others_at_work(layout: Layout, share: Share) -> list[int]:
    """The processes that hold another share of the folder now."""
    return [rank_of(path) for path in layout.locks() if rank_of(path) != share.rank and _is_held(path)]


def _is_held(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _lock(file, shared=True)
    finally:
        os.close(file)


def _lock_patiently(file: int) -> bool:
    """Try a few times: another process may just be looking whether this share is taken."""
    for _ in range(_TRIES):
        if _lock(file):
            return True
        time.sleep(_PAUSE)
    return False


def _lock(file: int, *, shared: bool = False) -> bool:
    """Try to lock; False if another process has it. File systems that cannot lock let everybody through."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
