"""Jobs of the same shape come together in batches, within a bounded look ahead."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .fingerprint import canonical
from .jobs import Job
from .pictures import is_picture, picture_size


def shape_of(job: Job) -> str:
    """What jobs must have in common to run in one call: all arguments that a call has once for all rows.

    Prompts, seeds, strengths, the styles themselves and pictures of one size may differ; of styles that act one after
    the other (``chain``) the order must be the same.
    """
    shared = {name: _common(job, name, value) for name, value in job.arguments.items()}
    order = list(job.strength) if job.dials["composition"] == "chain" else []
    return json.dumps(canonical([shared, job.negative_prompt is None, dict(job.dials), order]), sort_keys=True)


def _common(job: Job, name: str, value: Any) -> Any:
    """What jobs of one call share of an argument; pipelines bring all pictures of a call to the size of the first."""
    if name not in job.rows:
        return job.recipe["arguments"][name]  # of a picture the digest
    return picture_size(value) if is_picture(name, value) else None


def batches_of(jobs: Iterable[Job], size_of: Callable[[Job], int], window: int) -> Iterator[list[Job]]:
    """Jobs in batches of one shape each, in about the order of the jobs.

    Args:
        jobs: read as they are needed.
        size_of: the largest batch that a job may be in, asked anew each time.
        window: how many jobs may wait for others of their shape; beyond it the largest group goes as it is.
    """
    waiting: OrderedDict[str, list[Job]] = OrderedDict()
    count = 0
    for job in jobs:
        shape = shape_of(job)
        group = waiting.setdefault(shape, [])
        group.append(job)
        count += 1
        if len(group) >= size_of(job):
            yield waiting.pop(shape)
            count -= len(group)
        elif count >= window:
            largest = max(waiting, key=lambda one: len(waiting[one]))
            group = waiting.pop(largest)
            count -= len(group)
            yield group
    yield from waiting.values()
