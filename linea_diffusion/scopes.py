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
_LIBRARIES = ("diffusers", "torch", __name__.partition(".")[0])


class Scope:
    """The code that is run within a context, made by `own_calls`."""

    def __init__(self) -> None:
        self._calls = calls_open()
        self._resting = False
        self._before: list[bool] = []

    def entered(self) -> bool:
        """Whether the running code is within the context, in its thread."""
        return self in _ENTERED.get()

    def acts(self) -> bool:
        """Whether the model that is running runs for this context; compiled code may ask it, and models do often."""
        return self in _ENTERED.get() and not self._resting

    def hears(self) -> bool:
        """Whether the code that is running, a method of a pipeline or scheduler, runs for this context."""
        return self.entered() and not self._in_another_call()

    def begin_model(self) -> None:
        """A model begins to run, for this context or for another call."""
        self._before.append(self._resting)
        self._resting = self._in_another_call()

    def end_model(self) -> None:
        """The model that began last has ended."""
        self._resting = self._before.pop()

    def _in_another_call(self) -> bool:
        return calls_open() - self._calls > 1


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
            if not scope.entered():
                return compiled(*args, **kwargs)
            scope.begin_model()
            try:
                return compiled(*args, **kwargs)
            finally:
                scope.end_model()

        stack.enter_context(replaced(model, "_compiled_call_impl", run))
        return

    def begin(*_: Any) -> None:
        if not torch.compiler.is_compiling() and scope.entered():  # a model within a compiled one is part of it
            scope.begin_model()

    def end(*_: Any) -> None:
        if not torch.compiler.is_compiling() and scope.entered():
            scope.end_model()

    stack.callback(model.register_forward_pre_hook(begin, prepend=True).remove)
    stack.callback(model.register_forward_hook(end, always_call=True).remove)


def calls_open() -> int:
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
