"""What an actor of Ray does for a batch: groups of tasks in, images into the folder, their lines out.

This file is what actors load first; what paints is made by the actor itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast

from .folder.folder import Folder, Row, failure

MOST_DEATHS = 3
"""Times that a job may be what its process died of, alone, before it is a failure."""


@dataclass(frozen=True)
class Task:
    """One image to be made, as it goes to an actor.

    Attributes:
        digest: of the job.
        line: of the input.
        part: which image of the line.
        fields: of a line that asks for this image alone.
        columns: of the line that are no fields.
        file_name: of the image.
        is_there: whether the image is there and only its line is missing.
    """

    digest: str
    line: int
    part: int
    fields: Mapping[str, Any]
    columns: Mapping[str, Any]
    file_name: str
    is_there: bool = False


class Work(Protocol):
    """What paints in an actor."""

    def paint(self, tasks: Sequence[Task]) -> Iterator[tuple[Row, bytes | None]]:
        """The line and the file of each image; a failure has a line and no file."""

    def describe(self, task: Task, data: bytes) -> Row:
        """The line of an image that is there."""


@dataclass(frozen=True)
class Opening:
    """Makes what paints in an actor; pickled.

    Attributes:
        open: makes a pipeline, or something that paints as `Work` does.
        model: digest of the model that the jobs were planned for.
        ending: of image files.
        size: of batches.
        scorer: of the figures, or None.
    """

    open: Callable[[], Any]
    model: str
    ending: str
    size: Any
    scorer: Any

    def __call__(self) -> Work:
        """Open it.

        Raises:
            LineaError: another model than that of the plan.
        """
        opened = self.open()
        if hasattr(opened, "paint"):
            return cast(Work, opened)
        from .remote import work_of

        return work_of(opened, self)


class Attempts:
    """What was begun and what ended, kept where the run was started: actors that die cannot tell."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def begin(self, key: str) -> int | None:
        """How often it was begun and did not end since it last ended; None: it was never begun."""
        before = self._open.get(key)
        self._open[key] = (before or 0) + 1
        return before

    def end(self, key: str) -> None:
        """It went well, so that nobody died of it."""
        self._open[key] = 0


class Worker:
    """The actor of Ray Data's ``map_batches``.

    Args:
        make: makes what paints, once for each actor.
        folder: of the batch.
        attempts: an actor of `Attempts`.
    """

    def __init__(self, make: Callable[[], Work], folder: Folder, attempts: Any) -> None:
        self._work, self._folder, self._attempts = make(), folder, attempts

    def __call__(self, block: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
        """The lines of groups, group by group.

        What was begun before was killed in the middle, or its lines were lost with a node: images that are there are
        then not made again. What its process may have died of is made one by one.
        """
        for text in block["tasks"]:
            tasks = [Task(**one) for one in json.loads(text)]
            before = self._begin(group := f"group {tasks[0].digest}")
            there = [task for task in tasks if (task.is_there or before is not None) and self._has(task)]
            rows = [self._work.describe(task, self._folder.read(task.file_name)) for task in there]
            missing = [task for task in tasks if task not in there]
            for some in [[task] for task in missing] if before else [missing]:
                rows += self._painted(some)
            self._attempts.end.remote(group)
            yield {"row": [json.dumps(row, ensure_ascii=False) for row in rows]}

    def _has(self, task: Task) -> bool:
        return self._folder.has(task.file_name)

    def _begin(self, key: str) -> int | None:
        import ray

        try:
            return cast("int | None", ray.get(self._attempts.begin.remote(key)))
        except ray.exceptions.RayError:
            os._exit(1)  # this node is being shut down: dead actors are replaced, failed ones end the run

    def _painted(self, tasks: list[Task]) -> Iterator[Row]:
        if not tasks:
            return
        if len(tasks) == 1 and (deaths := self._begin(tasks[0].digest) or 0) >= MOST_DEATHS:
            yield died(tasks[0], deaths)
            return
        for row, data in self._work.paint(tasks):
            if data is not None:
                self._folder.write(row["file_name"], data)
            yield row
        if len(tasks) == 1:
            self._attempts.end.remote(tasks[0].digest)


def died(task: Task, deaths: int) -> Row:
    """The line of a job that its process does not survive."""
    reason = (
        f"got its process killed {deaths} times, with this image alone: expected it to live; a smaller image, a "
        "smaller dtype or more memory for each actor may help"
    )
    columns = {f"meta.{name}": value for name, value in task.columns.items()}
    return failure(task.digest, task.line, task.part, reason, {**task.fields, **columns})


def written(tasks: Sequence[Task]) -> str:
    """Tasks as text."""
    return json.dumps([asdict(task) for task in tasks], ensure_ascii=False)
