"""Where in its denoising schedule a running pipeline is."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Progress:
    """How far a pipeline is in its schedule.

    Attributes:
        index: scheduler steps taken so far.
        total: scheduler steps of the whole schedule; at least 1.
    """

    index: int = 0
    total: int = 1

    @property
    def fraction(self) -> float:
        """Share of the schedule that is done: 0 at the first step, below 1 at the last."""
        return min(self.index, self.total - 1) / self.total

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
    `set_begin_index` says where image-to-image pipelines enter.
    """
    progress = Progress()
    scheduler = getattr(pipe, "scheduler", None)
    if scheduler is None:
        yield progress
        return

    def begin() -> None:
        progress.index, progress.total = 0, max(len(scheduler.timesteps), 1)

    def enter(begin_index: int = 0) -> None:
        progress.index = begin_index

    def advance() -> None:
        progress.index += 1

    watched = {
        "set_timesteps": lambda arguments: begin(),
        "set_begin_index": lambda arguments: enter(*arguments[:1]),
        "step": lambda arguments: advance(),
    }
    inner = {name: vars(scheduler).get(name) for name in watched if hasattr(scheduler, name)}
    try:
        for name in inner:
            setattr(scheduler, name, _then(scheduler, name, watched[name]))
        yield progress
    finally:
        for name, method in inner.items():
            if method is None:
                delattr(scheduler, name)
            else:
                setattr(scheduler, name, method)


def _then(scheduler: Any, name: str, after: Callable[[tuple[Any, ...]], None]) -> Callable[..., Any]:
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
