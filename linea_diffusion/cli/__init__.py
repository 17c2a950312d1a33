"""`linea`, the command line: one command, one function; options/ are what commands share.

Signals are listened to before anything else is imported. Imports all rooms.
"""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import LineaError, clipped
from ..training.state.stopping import STOP, Stopped

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(command: Callable[[], None] | None = None) -> None:
    """Entry point: a user's error is one line on standard error and exit code 2, a signal one line and 130 or 143.

    Args:
        command: what is run in place of the command line.
    """
    with STOP.on_signals():
        try:
            _run(command or _linea)
        finally:
            # here ends whatever a library has made of a signal on its way
            if STOP() and not _has_line(sys.exception()):
                _end(STOP.reason, STOP.exit_code)


def _linea() -> None:
    from .commands import app, refuse_empty_paths

    refuse_empty_paths(sys.argv[1:])
    app()


def _run(command: Callable[[], None]) -> None:
    try:
        with _plain_warnings():
            command()
    except LineaError as error:
        _end(str(error), 2)
    except Stopped as stopped:
        _end(str(stopped), STOP.exit_code)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _end(f"got {error}: expected room for what is written; make room and run the same command again", 2)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Within the context a warning of ours is a line of words, without the place in the code that gives it."""
    usual = warnings.formatwarning

    def form(message: Any, category: type[Warning], *place: Any, **line: Any) -> str:
        if category is UserWarning and str(message).startswith("got "):
            return f"linea: {message}\n"
        return usual(message, category, *place, **line)

    warnings.formatwarning = form
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _end(message: str, code: int) -> None:
    sys.stderr.write(f"linea: {clipped(message, 1000)}\n")
    sys.exit(code)


def _has_line(error: BaseException | None) -> bool:
    """Whether the command has ended with a line of its own."""
    return isinstance(error, SystemExit) and error.code not in (0, None)


def __getattr__(name: str) -> Any:
    if name == "app":
        from .commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
