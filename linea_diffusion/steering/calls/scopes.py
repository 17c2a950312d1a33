"""Whose code is running: what a thread runs within a context of ours, and not what other calls run within those calls.

A context steers, follows or looks at the calls that are made in it. Other threads may run the same models meanwhile,
and a callback of a steered call may call a pipeline that shares its models or its scheduler: both are calls of their
own, and none of the context's business.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import FrameType, MethodType
from typing import Any

import torch
from torch import nn

from ..hooks import replaced

_ENTERED: ContextVar[tuple[Scope, ...]] = ContextVar("linea_diffusion_scopes", default=())
_LIBRARIES = ("diffusers", "torch", __name__.partition(".")[0])


class Scope:
    """The code that is run within a context, made by `call_scope`."""

    def __init__(self, inside: bool) -> None:
        self._calls = calls_open() - inside
        self._resting: bool | None = None
        self._before: list[bool | None] = []

    def entered(self) -> bool:
        """Whether the running code is within the context, in its thread."""
        return self in _ENTERED.get()

    def hears(self) -> bool:
        """Whether the code that is running, a method of a pipeline or scheduler, runs for this context."""
        return self.entered() and not self._in_another_call()

    def acts(self) -> bool:
        """As `hears`, for code within models: known since the model began to run. Compiled code may ask it."""
        if self not in _ENTERED.get():
            return False
        if self._resting is None:  # a part of a model is called by itself
            return torch.compiler.is_compiling() or not self._in_another_call()
        return not self._resting

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
def call_scope(*, inside: bool = False) -> Iterator[Scope]:
    """Within the context the yielded scope tells the calls that are made in it from all others.

    Args:
        inside: whether the context is opened within the call that it is about.
    """
    scope = Scope(inside)
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
                stack.enter_context(_watched(model, scope))
        yield


class _Watch:
    """A model that tells scopes when it begins to run and when it has ended: one patch, however many scopes there are.

    torch calls a module through one of these two methods, hooks included. Hooks could not do it: those of a module
    that is compiled in place are part of its code, which cannot look at the stack.
    """

    def __init__(self, model: nn.Module, name: str) -> None:
        self.model = model
        self.scopes: tuple[Scope, ...] = ()
        self._call = getattr(model, name)
        self.patch = ExitStack()
        watch = self

        def run(this: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return watch.run(this, *args, **kwargs)

        self.patch.enter_context(replaced(model, name, MethodType(run, model)))  # of a copy, it calls the copy

    def run(self, this: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Call the model as torch does."""
        is_original = this is self.model and not torch.compiler.is_compiling()
        mine = [scope for scope in self.scopes if scope.entered()] if is_original else []
        for scope in mine:
            scope.begin_model()
        try:
            function = getattr(self._call, "__func__", None)
            return self._call(*args, **kwargs) if function is None else function(this, *args, **kwargs)
        finally:
            for scope in mine:
                scope.end_model()


_LOCK = threading.Lock()
_WATCHES: dict[tuple[int, str], _Watch] = {}


@contextmanager
def _watched(model: nn.Module, scope: Scope) -> Iterator[None]:
    """Within the context a scope knows when a model begins to run and when it has ended."""
    name = "_call_impl" if vars(model).get("_compiled_call_impl") is None else "_compiled_call_impl"
    key = (id(model), name)
    with _LOCK:
        watch = _WATCHES.get(key) or _WATCHES.setdefault(key, _Watch(model, name))
        watch.scopes += (scope,)
    try:
        yield
    finally:
        with _LOCK:
            watch.scopes = tuple(one for one in watch.scopes if one is not scope)
            if not watch.scopes:
                del _WATCHES[key]
                watch.patch.close()


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
        ancestor.__name__ in ("DiffusionPipeline", "ModularPipeline")
        for ancestor in type(frame.f_locals.get("self")).__mro__
    )
