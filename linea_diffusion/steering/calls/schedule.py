"""Where in its denoising schedule a running pipeline is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from ..hooks import Listener, listen
from .scopes import Scope, call_scope


@dataclass
class Progress:
    """How far a pipeline is in its schedule.

    Attributes:
        index: scheduler steps taken so far.
        total: scheduler steps of the whole schedule; at least 1.
        skipped: share of the noise levels that lie before the schedule (some schedulers leave out what an
            image-to-image call does not run).
    """

    index: int = 0
    total: int = 1
    skipped: float = 0.0
    _listeners: list[Callable[[], object]] = field(default_factory=list, repr=False)

    @property
    def fraction(self) -> float:
        """Share of the schedule that is done: 0 at the first step, below 1 at the last."""
        return self.skipped + (1 - self.skipped) * min(self.index, self.total - 1) / self.total

    def move_to(self, index: int, total: int | None = None) -> None:
        """Note where the schedule is now, and tell those who want to know."""
        self.index, self.total = index, total or self.total
        for listener in self._listeners:
            listener()

    @contextmanager
    def listened(self, listener: Callable[[], object]) -> Iterator[None]:
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
def follow_schedule(pipe: Any, scope: Scope | None = None, progress: Progress | None = None) -> Iterator[Progress]:
    """Within the context the yielded `Progress` follows the calls of the pipeline that are made in it.

    It is read from the timesteps that are taken, wherever they stand in the scheduler's own list: that of the step
    itself, the one that the model's input is scaled for, the first one that an image-to-image pipeline keeps. All of
    them go through methods that pipelines share, while each denoiser takes its timestep in its own way. The position
    is that in the whole list, also where a call enters in its middle or leaves before its end, so that a share of
    the schedule means the same noise in every call. A pipeline of several stages has several schedulers, and each
    stage is a schedule of its own.

    Args:
        pipe: a diffusers pipeline.
        scope: whose calls are followed; those that are made in this context when left out.
        progress: that follows them; a new one when left out.
    """
    progress = progress or Progress()
    with ExitStack() as stack:
        scope = stack.enter_context(call_scope() if scope is None else nullcontext(scope))
        schedules = {id(scheduler): _Schedule(scheduler, progress) for scheduler in stepping_schedulers(pipe)}
        for schedule in schedules.values():
            for method, listener in schedule.listeners().items():
                if hasattr(schedule.scheduler, method):
                    stack.enter_context(listen(schedule.scheduler, method, listener, scope=scope))
        for stage in (pipe, *vars(pipe).values()):
            if hasattr(stage, "get_timesteps") and id(getattr(stage, "scheduler", None)) in schedules:
                enters = schedules[id(stage.scheduler)].enters
                stack.enter_context(listen(stage, "get_timesteps", enters, scope=scope))
        yield progress


def stepping_schedulers(pipe: Any) -> list[Any]:
    """The schedulers of a pipeline, those of its stages included."""
    return [part for part in pipe.components.values() if hasattr(part, "set_timesteps") and hasattr(part, "step")]


class _Schedule:
    """One scheduler's list of timesteps, and what its methods say of the place in it."""

    def __init__(self, scheduler: Any, progress: Progress) -> None:
        self.scheduler, self.progress = scheduler, progress
        self._keep()

    def listeners(self) -> dict[str, Listener]:
        """Method name -> what it tells."""
        return {
            "set_timesteps": self._begins,
            "set_begin_index": lambda arguments, _: self.progress.move_to(arguments.get("begin_index", 0)),
            "scale_model_input": lambda arguments, _: self._is_at(arguments.get("timestep")),
            "step": lambda arguments, _: self._has_done(arguments.get("timestep")),
        }

    def enters(self, arguments: dict[str, Any], result: Any) -> None:
        """``get_timesteps`` of image-to-image pipelines gives the timesteps that are run."""
        timesteps = result[0] if isinstance(result, tuple) else result
        if len(timesteps):
            self._is_at(timesteps[0])

    def _begins(self, arguments: dict[str, Any], _: Any) -> None:
        self._keep()
        self.progress.skipped = 1 - arguments.get("strength", 1.0)
        self.progress.move_to(0, max(len(self._timesteps), 1))

    def _is_at(self, timestep: Any) -> None:
        index, progress = self._find(timestep), self.progress
        if index is not None and (index, len(self._timesteps)) != (progress.index, progress.total):
            progress.move_to(index, len(self._timesteps))

    def _has_done(self, timestep: Any) -> None:
        index = self._find(timestep)
        if index is None:
            self.progress.move_to(self.progress.index + 1)
        else:
            self.progress.move_to(index + 1, len(self._timesteps))

    def _keep(self) -> None:
        """The list itself, which a call in a callback may replace in the scheduler, and its numbers when asked for."""
        timesteps = getattr(self.scheduler, "timesteps", None)
        self._timesteps: Any = () if timesteps is None else timesteps
        self._numbers: list[float] | None = None

    def _find(self, timestep: Any) -> int | None:
        """Where a timestep stands in the list; None if it does not.

        Pipelines take it out of the list, so that its storage tells, without waiting for the device, and exactly
        where a scheduler takes a timestep twice. A number is looked for from the present place on.
        """
        timesteps = self._timesteps
        if timestep is None or not len(timesteps):
            return None
        if _share_storage(timestep, timesteps):
            index = int(timestep.storage_offset() - timesteps.storage_offset()) // timesteps.stride(0)
            return index if 0 <= index < len(timesteps) else None
        if self._numbers is None:
            self._numbers = torch.as_tensor(timesteps).tolist()
        number = float(torch.as_tensor(timestep).flatten()[0])
        places = [index for index, one in enumerate(self._numbers) if one == number]
        return next((index for index in places if index >= self.progress.index), places[0] if places else None)


def _share_storage(one: Any, other: Any) -> bool:
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return False
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
