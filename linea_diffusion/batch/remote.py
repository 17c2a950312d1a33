"""What paints in an actor of Ray: the pipeline that it opens, told of jobs as lines that ask for one image each."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from ..errors import LineaError, clipped
from ..pipelines.rendering.batch_size import BatchSize
from .folder.folder import Row, failure, image_name
from .jobs.jobs import Job, JobMaker
from .painting import Painter, wrapped
from .worker import Opening, Task, Work


class PipelineWork:
    """A painter that is told of tasks.

    Args:
        painter: with the model that the tasks were planned for.
    """

    def __init__(self, painter: Painter) -> None:
        self._painter = painter

    def paint(self, tasks: Sequence[Task]) -> Iterator[tuple[Row, bytes | None]]:
        """The line and the file of each image; a failure has a line and no file."""
        jobs: list[Job] = []
        for task in tasks:
            try:
                jobs.append(self._job(task))
            except LineaError as error:
                yield failure(task.digest, task.line, task.part, clipped(str(error)), dict(task.fields)), None
        if jobs:
            yield from self._painter.paint(jobs)

    def describe(self, task: Task, data: bytes) -> Row:
        """The line of an image that is there."""
        with Image.open(io.BytesIO(data)) as image:
            (row,) = self._painter.rows([(self._job(task), image.convert("RGB"))])
        return row

    def _job(self, task: Task) -> Job:
        """The job of a task, which must be the one that was planned."""
        (job,) = self._painter.maker.jobs(task.line, task.fields)
        if isinstance(job, LineaError):
            raise job
        if job.digest != task.digest:
            raise LineaError(
                "got other maps or pictures on this node than where the jobs were read: expected the same files; "
                "give them by paths that are the same on every node"
            )
        return replace(job, part=task.part, columns=task.columns)


def work_of(opened: Any, opening: Opening) -> Work:
    """What paints with a pipeline, see `Opening`.

    Raises:
        LineaError: another model than that of the plan.
    """
    pipe = wrapped(opened)
    pipe.set_progress_bar_config(disable=True)
    maker = JobMaker(pipe, {}, opening.ending)
    if maker.model != opening.model:
        raise LineaError(
            "got a model in an actor of Ray with other numbers than the one here: expected the same weights, dtype, "
            "LoRA and scheduler; say --dtype"
        )
    return PipelineWork(Painter(pipe, maker, BatchSize(opening.size, pipe.base), opening.scorer))


def task_of(job: Job, ending: str, is_there: bool) -> Task:
    """A job as it goes to an actor."""
    return Task(job.digest, job.line, job.part, job.fields(), job.columns, image_name(job.digest, ending), is_there)
