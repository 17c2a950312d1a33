"""Signals that ask a run to end: the first lets it finish what is under way, the second does not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether a signal has asked to stop; calling it says so.

    Attributes:
        signal: the first signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signal or 0)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """A signal came."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Within the context SIGINT and SIGTERM ask to stop; the second one raises KeyboardInterrupt."""
    request = StopRequest()
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
