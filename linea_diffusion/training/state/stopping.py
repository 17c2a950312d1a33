"""Signals that ask the command line to end. Libraries install no handlers: only the command line does."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A signal ended the command; the message is what there is to say about it.

    It is neither an error nor a KeyboardInterrupt, so that nothing that catches those takes it for one.
    """


class StopRequest:
    """Whether somebody has asked to stop; calling it says so.

    Attributes:
        signal: the first signal that came, or None.
        gentle: whether the first signal only asks, for work that looks in time and then keeps what it has. Otherwise
            it raises `Stopped` wherever the command is. A second signal always does, and a third one kills.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.gentle = False

    def __call__(self) -> bool:
        """Whether to stop. True as well where a library has swallowed the exception that the signal raised."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signal or 0)

    @property
    def reason(self) -> str:
        """What there is to say when nothing else is known."""
        return f"stopped by {signal.Signals(self.signal).name}" if self.signal else "stopped"

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """A signal came."""
        if self.signal is not None:
            for one in _SIGNALS:
                signal.signal(one, signal.SIG_DFL)
            raise Stopped("stopped at once")
        self.signal = number
        if not self.gentle:
            raise Stopped(self.reason)

    def end_gently(self, said: str) -> None:
        """From now on a signal ends the command at once.

        Raises:
            Stopped: a signal came before, with what there is to say about the work that it ended.
        """
        self.gentle = False
        if self():
            raise Stopped(said)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Within the context SIGINT and SIGTERM ask to stop, also where they were ignored before, as in the
        background jobs of a script. Threads other than the main one cannot set handlers, and are let be."""
        self.signal, self.gentle = None, False
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.receive) for number in _SIGNALS}
        hook, sys.unraisablehook = sys.unraisablehook, self._again
        try:
            yield
        finally:
            sys.unraisablehook = hook
            for number, handler in before.items():
                signal.signal(number, handler)

    def _again(self, lost: Any) -> None:
        """Python drops what is raised within ``__del__``: raise it again when that has ended."""
        if not issubclass(lost.exc_type, Stopped):
            sys.__unraisablehook__(lost)
        elif hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self._raise)
            signal.setitimer(signal.ITIMER_REAL, 0.01)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        raise Stopped(self.reason)


STOP = StopRequest()
"""The command line's own."""
