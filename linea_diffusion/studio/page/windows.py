"""The windows that are open: each has a workbench of its own, found by the name that Gradio gives the window."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gradio as gr

from ...errors import LineaError, clipped
from ..work import ERRORS, said
from ..workbench import SharedModel, Workbench

MOST = 64
"""Windows at once; the one that was used least lately makes room."""


class Windows:
    """Window -> workbench.

    Args:
        model: that all of them share.
    """

    def __init__(self, model: SharedModel) -> None:
        self.model = model
        self._open: OrderedDict[str, Workbench] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, request: gr.Request) -> Workbench:
        """The workbench of the window that asks."""
        name = str(request.session_hash)
        with self._lock:
            if name not in self._open:
                self._open[name] = Workbench(self.model)
            self._open.move_to_end(name)
            while len(self._open) > MOST:
                self._open.popitem(last=False)[1].close()
            return self._open[name]

    def drop(self, request: gr.Request) -> None:
        """A window was closed."""
        with self._lock:
            bench = self._open.pop(str(request.session_hash), None)
        if bench is not None:
            bench.close()

    def close(self) -> None:
        """The page ends."""
        with self._lock:
            benches = list(self._open.values())
            self._open.clear()
        for bench in benches:
            bench.close()


def in_a_sentence(work: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the page whose errors the user reads as one sentence."""

    @functools.wraps(work)
    def told(*args: Any) -> Any:
        try:
            return work(*args)
        except (LineaError, *ERRORS) as error:
            raise sentence(error) from None

    return told


def sentence(error: BaseException) -> gr.Error:
    """What Gradio shows of an error."""
    return gr.Error(clipped(said(error)), duration=None, print_exception=False, title="That did not work")
