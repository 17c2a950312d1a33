"""Who may run the models: one at a time, in the order of asking; and how work is stopped between two of its steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..errors import LineaError
from ..steering.calls.schedule import stepping_schedulers
from ..steering.hooks import listen


class Turns:
    """A queue in which long work lets others in: a training between its iterations."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next = self._serving = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within the context nobody else has the models."""
        self._take()
        try:
            yield
        finally:
            self._leave()

    def give_way(self) -> None:
        """Let everybody who waits go first; whoever has the turn calls it, and has it again afterwards."""
        self._leave()
        self._take()

    def _take(self) -> None:
        with self._changed:
            ticket = self._next
            self._next += 1
            self._changed.wait_for(lambda: ticket == self._serving)

    def _leave(self) -> None:
        with self._changed:
            self._serving += 1
            self._changed.notify_all()


class HaltedError(LineaError):
    """Somebody stopped the work that makes this picture."""


class Halt:
    """Asks work to stop; whoever begins work anew calls `begin`."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Stop what goes on."""
        self._asked.set()

    def begin(self) -> None:
        """What was stopped is over."""
        self._asked.clear()

    def check(self, *_: Any) -> None:
        """Go on, or not.

        Raises:
            HaltedError: somebody asked to stop.
        """
        if self._asked.is_set():
            raise HaltedError("stopped: what was made so far is kept")

    @contextmanager
    def halts(self, pipe: Any) -> Iterator[None]:
        """Within the context calls of a pipeline end after the denoising step at which they are asked to.

        Args:
            pipe: whose schedulers are its own.

        Raises:
            HaltedError: they were asked to.
        """
        with ExitStack() as stack:
            for scheduler in stepping_schedulers(getattr(pipe, "base", pipe)):
                stack.enter_context(listen(scheduler, "step", self.check, scope=_Everybody()))
            yield


class _Everybody:
    def hears(self) -> bool:
        """Nobody else's calls step this scheduler."""
        return True
