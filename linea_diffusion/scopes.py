"""Whose code is running: what a thread runs within a context of ours, and not what other calls run within those calls.

A context steers, follows or looks at the calls that are made in it. Other threads may run the same models meanwhile,
and a callback of a steered call may call a pipeline that shares its models or its scheduler: both are calls of their
own, and none of the context's business.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

import torch
from torch import nn

from .hooks import replaced

_ENTERED: ContextVar[tuple[Scope, ...]] = ContextVar("linea_diffusion_scopes", default=())
_LIBRARIES = ("diffusers", "torch")


class Scope:
    """The code that is run within a context, made by `own_calls`.

    Attributes:
        resting: whether a model is running within another call, made in a callback; models ask this often.
    """

    def __init__(self) -> None:
        self.resting = False
        self._calls = _calls_open()

    def acts(self) -> bool:
        """Whether the model that is running runs for this context; compiled code may ask it."""
        return self in _ENTERED.get() and not self.resting

    def hears(self) -> bool:
        """Whether the code that is running, a method of a pipeline or scheduler, runs for this context."""
        return self in _ENTERED.get() and not self._in_another_call()

    def _in_another_call(self) -> bool:
        return _calls_open() - self._calls > 1

    @contextmanager
    def model_runs(self) -> Iterator[None]:
        """Within the context a model runs, for this scope or for another call."""
        before = self.resting
        if self in _ENTERED.get():
            self.resting = self._in_another_call()
        try:
            yield
        finally:
            self.resting = before


@contextmanager
def own_calls() -> Iterator[Scope]:
    """Within the context the yielded scope tells the calls that are made in it from all others."""
    scope = Scope()
    _ENTERED.set((*_ENTERED.get(), scope))
    try:
        yield scope
    finally:
        _ENTERED.set(tuple(one for one in _ENTERED.get() if one is not scope))


@contextmanager
def resting_in_other_calls(models: Iterable[Any], scope: Scope) -> Iterator[None]:
    """Within the context a scope rests while one of the models runs within another call."""
    with ExitStack() as stack:
        for model in models:
            if isinstance(model, nn.Module):
                _watch(model, scope, stack)
        yield


def _watch(model: nn.Module, scope: Scope, stack: ExitStack) -> None:
    compiled = vars(model).get("_compiled_call_impl")
    if compiled is not None:  # compiled in place: its hooks are part of the code, which cannot look at the stack

        def run(*args: Any, **kwargs: Any) -> Any:
            with scope.model_runs():
                return compiled(*args, **kwargs)

        stack.enter_context(replaced(model, "_compiled_call_impl", run))
        return
    running: list[Any] = []

    def enter(*_: Any) -> None:
        if torch.compiler.is_compiling():  # a model within a compiled one
            return
        running.append(scope.model_runs())
        running[-1].__enter__()

    def leave(*_: Any) -> None:
        if running:
            running.pop().__exit__(None, None, None)

    stack.callback(model.register_forward_pre_hook(enter, prepend=True).remove)
    stack.callback(model.register_forward_hook(leave, always_call=True).remove)


def _calls_open() -> int:
    """How many calls of pipelines the running code is within; what a pipeline calls of its own stages is no other."""
    count, between = 0, True
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_call(frame):
            count, between = count + between, False
        elif frame.f_globals.get("__name__", "").partition(".")[0] not in _LIBRARIES:
            between = True  # somebody else's code, such as a callback
        frame = frame.f_back
    return count


def _is_call(frame: FrameType) -> bool:
    return frame.f_code.co_name == "__call__" and any(
        ancestor.__name__ == "DiffusionPipeline" for ancestor in type(frame.f_locals.get("self")).__mro__
    )
