"""Put something in place of a method and take it back: whatever the order in which those who ask for it leave.

Several contexts may want the same method of one object at the same time, in one thread or in several. What stands on
the object is counted under one lock and comes off with the last of them; what somebody else put there meanwhile stays.
"""

from __future__ import annotations

import functools
import inspect
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

Listener = Callable[[dict[str, Any], Any], Any]
_LOCK = threading.Lock()
_NOTHING = object()


class _Hearing(Protocol):
    def hears(self) -> bool:
        """Whether the running code is the listener's own."""


class _Listened:
    """A method of one object that tells listeners, as long as there are any."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name
        self.before = _present(owner, name)
        self.listeners: tuple[tuple[_Hearing, Listener], ...] = ()
        function = getattr(type(owner), name, None)
        self._names = list(inspect.signature(function).parameters)[1:] if callable(function) else []
        self.method = self._telling()
        _put(owner, name, self.method)

    def _telling(self) -> Callable[..., Any]:
        """The signature is kept: pipelines look at it to see what a scheduler accepts. It is bound to its object, so
        that a deep copy (some pipelines make one for a second stream) acts on itself, and tells nobody."""
        owner, method = self.owner, getattr(self.owner, self.name)
        if getattr(method, "__self__", None) is not owner:  # somebody put a plain function there; it stays as it is

            @functools.wraps(method)
            def alone(*args: Any, **kwargs: Any) -> Any:
                return self._answer(method(*args, **kwargs), args, kwargs)

            return alone
        function = method.__func__

        @functools.wraps(function)
        def bound(this: Any, *args: Any, **kwargs: Any) -> Any:
            result = function(this, *args, **kwargs)
            return self._answer(result, args, kwargs) if this is owner else result

        return types.MethodType(bound, owner)

    def _answer(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        arguments = {**dict(zip(self._names, args, strict=False)), **kwargs}
        for whose, listener in self.listeners:
            if whose.hears():
                instead = listener(arguments, result)
                result = result if instead is None else instead
        return result

    def leave(self, listening: tuple[_Hearing, Listener]) -> None:
        self.listeners = tuple(one for one in self.listeners if one is not listening)
        if not self.listeners:
            if _LISTENED.get((id(self.owner), self.name)) is self:
                del _LISTENED[id(self.owner), self.name]
            if _present(self.owner, self.name) is self.method:
                _put(self.owner, self.name, self.before)


_LISTENED: dict[tuple[int, str], _Listened] = {}


@contextmanager
def listen(owner: Any, method: str, listener: Listener, *, scope: _Hearing) -> Iterator[None]:
    """Within the context a method of one object, when done, tells a listener.

    Args:
        owner: the object. Copies of it tell nobody.
        method: name of the method.
        listener: called with the arguments by name, and the result; what it returns, unless None, takes the result's
            place.
        scope: from `call_scope`: whose calls of the method are told.
    """
    listening = (scope, listener)
    with _LOCK:
        patch = _LISTENED.get((id(owner), method))
        if patch is None or _present(owner, method) is not patch.method:
            patch = _LISTENED[id(owner), method] = _Listened(owner, method)
        patch.listeners += (listening,)
    try:
        yield
    finally:
        with _LOCK:
            patch.leave(listening)


class _Replaced:
    """What stood in an object's attribute before, and what contexts want there, the newest last."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.before = owner, _present(owner, name)
        self.values: list[Any] = []


_REPLACED: dict[tuple[int, str], _Replaced] = {}


@contextmanager
def replaced(owner: Any, name: str, value: Any, *, only_if_free: bool = False) -> Iterator[bool]:
    """Within the context an object's own attribute (``forward``, ``__class__``) is another.

    Of several contexts that are open the newest counts; when all have ended, in whatever order, all is as before.

    Args:
        owner: the object.
        name: of the attribute.
        value: what stands there.
        only_if_free: leave the object alone if it has an attribute of its own there.

    Yields:
        Whether the value stands there.
    """
    key = (id(owner), name)
    with _LOCK:
        free = _present(owner, name) is _NOTHING
        put = free or not only_if_free
        if put:
            _REPLACED.setdefault(key, _Replaced(owner, name)).values.append(value)
            _put(owner, name, value)
    try:
        yield put
    finally:
        if put:
            with _LOCK:
                _give_back(key, name, value)


def _give_back(key: tuple[int, str], name: str, value: Any) -> None:
    entry = _REPLACED[key]
    entry.values = [one for one in entry.values if one is not value]
    if _present(entry.owner, name) is value:
        _put(entry.owner, name, entry.values[-1] if entry.values else entry.before)
    if not entry.values:
        del _REPLACED[key]


def _present(owner: Any, name: str) -> Any:
    return type(owner) if name == "__class__" else vars(owner).get(name, _NOTHING)


def _put(owner: Any, name: str, value: Any) -> None:
    """Past the ``__setattr__`` of models and pipelines, which keep registers of what is set."""
    if value is _NOTHING:
        object.__delattr__(owner, name)
    else:
        object.__setattr__(owner, name, value)
