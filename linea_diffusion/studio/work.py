"""`Work`: something long in a thread of its own, which says how far it is."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import LineaError, reason
from ..progress import heard

ERRORS = (RuntimeError, ValueError, TypeError, OSError, KeyError, AttributeError, IndexError)
"""What pipelines raise for what they cannot do; a page has one sentence for each, and goes on."""


def said(error: BaseException) -> str:
    """An error as one sentence."""
    return str(error) if isinstance(error, LineaError) else f"the model raised {type(error).__name__}: {reason(error)}"


class Work:
    """Work in a thread.

    Args:
        job: what is done.

    Attributes:
        stage: what is done now.
        done: of its units.
        total: units of the stage.
        seconds: since it began.
        result: of the job, when it is over.
        error: why it is over without one.
    """

    def __init__(self, job: Callable[[], Any]) -> None:
        self.stage, self.done, self.total, self.seconds = "prepare", 0, 1, 0.0
        self.result: Any = None
        self.error = ""
        self._job, self._began, self._news = job, time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._run,), daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def goes_on(self) -> bool:
        """Whether it is not over yet."""
        return self._thread.is_alive()

    def wait(self, seconds: float | None = None) -> None:
        """Until there is something new, it is over, or so much time has passed."""
        self._news.wait(seconds)
        self._news.clear()

    def hear(self, stage: str, done: int, total: int, facts: Mapping[str, Any]) -> None:
        """How far it is."""
        self.stage, self.done, self.total, self.seconds = stage, done, total, time.monotonic() - self._began
        self._news.set()

    def _run(self) -> None:
        try:
            with heard(self.hear):
                self.result = self._job()
        except (LineaError, *ERRORS) as error:
            self.error = said(error)
        finally:
            self._news.set()
