"""Where in its denoising schedule a running pipeline is."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

Listener = Callable[[tuple[Any, ...]], object]


@dataclass
class Progress:
    """How far a pipeline is in its schedule.

    Attributes:
        index: scheduler steps taken so far.
        total: scheduler steps of the whole schedule; at least 1.
    """

    index: int = 0
    total: int = 1
    _listeners: list[Callable[[], object]] = field(default_factory=list, repr=False)

    @property
    def fraction(self) -> float:
        """Share of the schedule that is done: 0 at the first step, below 1 at the last."""
        return min(self.index, self.total - 1) / self.total

    def move_to(self, index: int, total: int | None = None) -> None:
        """Note where the schedule is now, and tell those who want to know."""
        self.index, self.total = index, total or self.total
        for listener in self._listeners:
            listener()

    @contextmanager
    def told(self, listener: Callable[[], object]) -> Iterator[None]:
        """Within the context `listener` is called whenever the schedule has moved."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @contextmanager
    def at(self, index: int) -> Iterator[None]:
        """Within the context the progress reads `index`: for recomputing an earlier step."""
        present, self.index = self.index, index
        try:
            yield
        finally:
            self.index = present


@contextmanager
def follow_schedule(pipe: Any) -> Iterator[Progress]:
    """Within the context the yielded `Progress` follows every call of the pipeline.

    It watches the scheduler's own methods, which every pipeline calls, rather than the denoiser's timestep
    argument, which each class passes in its own way: `set_timesteps` begins a schedule, `step` ends a step, and
    `set_begin_index` says where image-to-image pipelines enter. A pipeline of several stages has several schedulers,
    and each stage is a schedule of its own.
    """
    progress = Progress()
    with ExitStack() as stack:
        for scheduler in stepping_schedulers(pipe):
            stack.enter_context(watched(scheduler, _moves(scheduler, progress)))
        yield progress


def stepping_schedulers(pipe: Any) -> list[Any]:
    """The schedulers of a pipeline, those of its stages included."""
    return [part for part in pipe.components.values() if hasattr(part, "set_timesteps") and hasattr(part, "step")]


def _moves(scheduler: Any, progress: Progress) -> dict[str, Listener]:
    return {
        "set_timesteps": lambda arguments: progress.move_to(0, max(len(scheduler.timesteps), 1)),
        "set_begin_index": lambda arguments: progress.move_to(arguments[0] if arguments else 0),
        "step": lambda arguments: progress.move_to(progress.index + 1),
    }


@contextmanager
def watched(scheduler: Any, listeners: Mapping[str, Listener]) -> Iterator[None]:
    """Within the context a scheduler's methods, when done, tell their arguments to the listener of their name."""
    inner = {name: vars(scheduler).get(name) for name in listeners if hasattr(scheduler, name)}
    try:
        for name in inner:
            setattr(scheduler, name, _then(scheduler, name, listeners[name]))
        yield
    finally:
        for name, method in inner.items():
            if method is None:
                delattr(scheduler, name)
            else:
                setattr(scheduler, name, method)


def _then(scheduler: Any, name: str, after: Listener) -> Callable[..., Any]:
    """A scheduler's method that tells `after` its arguments when it is done.

    The signature is kept: pipelines look at it to see what a scheduler accepts. It is bound to its scheduler, so that
    a deep copy (some pipelines make one for a second stream) acts on itself, and tells nobody.
    """
    method = getattr(scheduler, name)
    function = getattr(method, "__func__", None)
    if function is None:  # somebody put a plain function there; it stays with its scheduler

        @functools.wraps(method)
        def alone(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            after((*args, *kwargs.values()))
            return result

        return alone

    @functools.wraps(function)
    def bound(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = function(self, *args, **kwargs)
        if self is scheduler:
            after((*args, *kwargs.values()))
        return result

    return types.MethodType(bound, scheduler)
