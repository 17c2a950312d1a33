"""From lines to the jobs that this process has to do, each once, with a count of all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import LineaError, clipped
from .folder.index import JobIndex, State
from .folder.shares import Share
from .jobs.field_names import META
from .jobs.jobs import Job, JobMaker
from .jobs.reading import Line


@dataclass
class Reason:
    """Why some images are not there.

    Attributes:
        line: the first line of which it is so.
        count: of how many images, or lines of which no job can be made.
    """

    line: int
    count: int = 0


@dataclass
class Counts:
    """What became of the images that were asked for, of this process' share.

    Attributes:
        done: made now.
        skipped: there already.
        duplicates: asked for before by the same input.
        failed: failed now, or failed earlier and not tried again.
        bad_lines: lines, or images of lines, of which no job can be made (seen by the main process).
        reasons: why images failed now and lines are bad, each once; the first `MOST_REASONS` of them.
        columns: of lines that are no fields, and are carried into the metadata, by their names there.
    """

    done: int = 0
    skipped: int = 0
    duplicates: int = 0
    failed: int = 0
    bad_lines: int = 0
    reasons: dict[str, Reason] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)

    def note(self, line: int, error: LineaError) -> None:
        """Count a reason up."""
        reason = clipped(str(error))
        if reason in self.reasons or len(self.reasons) < MOST_REASONS:
            self.reasons.setdefault(reason, Reason(line)).count += 1


MOST_REASONS = 100
"""Different ones that are kept; a batch may go wrong in a million ways."""


def planned_jobs(
    lines: Iterable[Line],
    maker: JobMaker,
    index: JobIndex,
    share: Share,
    counts: Counts,
    bad_line: Callable[[int, int, LineaError], None],
    met: Callable[[State, Job], None] = lambda state, job: None,
    carried: Callable[[list[str]], None] = lambda names: None,
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
        carried: told of columns that are no fields, each once.
    """
    for number, fields in lines:
        made: Iterable[Job | LineaError] = [fields] if isinstance(fields, LineaError) else maker.jobs(number, fields)
        for part, job in enumerate(made):
            if isinstance(job, LineaError):
                bad_line(number, part, job)
                continue
            if new := [name for one in job.columns if (name := f"{META}.{one}") not in counts.columns]:
                counts.columns += new
                carried(new)
            index.meet(job.digest, number, part, job.columns)
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
