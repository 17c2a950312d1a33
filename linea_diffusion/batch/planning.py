"""From lines to the jobs that this process has to do, each once, with a count of all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..errors import LineaError
from .folder.index import JobIndex, State
from .folder.shares import Share
from .jobs.jobs import Job, JobMaker
from .jobs.reading import Line


@dataclass
class Counts:
    """What became of the images that were asked for, of this process' share.

    Attributes:
        done: made now.
        skipped: there already.
        duplicates: asked for before by the same input.
        failed: failed now, or failed earlier and not tried again.
        bad_lines: lines, or images of lines, of which no job can be made (seen by the main process).
    """

    done: int = 0
    skipped: int = 0
    duplicates: int = 0
    failed: int = 0
    bad_lines: int = 0


def planned_jobs(
    lines: Iterable[Line],
    maker: JobMaker,
    index: JobIndex,
    share: Share,
    counts: Counts,
    bad_line: Callable[[int, int, LineaError], None],
    met: Callable[[State, Job], None] = lambda state, job: None,
) -> Iterator[Job]:
    """The jobs to do.

    Args:
        lines: of the input.
        maker: makes jobs of them.
        index: what is known of jobs; it is told of all that are asked for, and those given out are claimed in it.
        share: only its jobs are given out and counted.
        counts: counted up.
        bad_line: told of each image (line, part) that no job can be made of.
        met: told of each job that is passed over, and why.
    """
    for number, fields in lines:
        made: Iterable[Job | LineaError] = [fields] if isinstance(fields, LineaError) else maker.jobs(number, fields)
        for part, job in enumerate(made):
            if isinstance(job, LineaError):
                bad_line(number, part, job)
                continue
            index.meet(job.digest, number, part)
            if share.owns(job.digest):
                state = index.claim(job.digest)
                if state is None:
                    yield job
                    continue
                _count(counts, state)
                if state is not State.PLANNED:
                    index.put(job.digest, State.PLANNED)
                met(state, job)


def _count(counts: Counts, state: State) -> None:
    if state in (State.DONE, State.UNSCORED):
        counts.skipped += 1
    elif state is State.FAILED:
        counts.failed += 1
    else:
        counts.duplicates += 1
