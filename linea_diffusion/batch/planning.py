"""From lines to the jobs that are to be done, each once, with a count of all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import LineaError, clipped
from .describing import bad_line_name
from .folder.ledger import Ledger, State
from .jobs.field_names import META
from .jobs.jobs import Job, JobMaker
from .jobs.reading import Line

MOST_REASONS = 100
"""Different ones that are kept; a batch may go wrong in a million ways."""


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
    """What became of the images that were asked for.

    Attributes:
        done: made now.
        skipped: there already.
        duplicates: asked for before by the same input.
        failed: failed now, or failed earlier and not tried again.
        bad_lines: lines, or images of lines, of which no job can be made.
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

    def note(self, line: int, reason: str) -> None:
        """Count a reason up."""
        if reason in self.reasons or len(self.reasons) < MOST_REASONS:
            self.reasons.setdefault(reason, Reason(line)).count += 1


@dataclass(frozen=True)
class Shard:
    """A part of all jobs, dealt out by digest, so that those who do the parts need not talk to each other.

    Attributes:
        number: which part, from 1.
        of: how many there are.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """The part that a text such as ``2/4`` names; None means all.

        Raises:
            LineaError: it names none.
        """
        if text is None:
            return cls()
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise LineaError(f"got shard {text!r}: expected I/N with 1 <= I <= N, such as 2/4")
        return cls(int(number), int(of))

    def owns(self, digest: str) -> bool:
        """Whether a job is of this part."""
        return int(digest[:15], 16) % self.of == self.number - 1

    @property
    def folder_name(self) -> str:
        """Of its folder, within that of the batch."""
        return f"shard-{self.number}-of-{self.of}"


def planned_jobs(
    lines: Iterable[Line],
    maker: JobMaker,
    ledger: Ledger,
    counts: Counts,
    shard: Shard,
    bad_line: Callable[[int, int, LineaError], None],
    met: Callable[[State, Job], bool] = lambda state, job: False,
    carried: Callable[[list[str]], None] = lambda names: None,
) -> Iterator[Job]:
    """The jobs to do.

    Args:
        lines: of the input.
        maker: makes jobs of them.
        ledger: knows what is done; told of all that is asked for.
        counts: counted up.
        shard: only its jobs are met; bad lines are those of the first.
        bad_line: told of each image (line, part) that no job can be made of.
        met: told of each job that is to be passed over, and why; True gives it out all the same.
        carried: told of columns that are no fields, each once.
    """
    for number, fields in lines:
        made: Iterable[Job | LineaError] = [fields] if isinstance(fields, LineaError) else maker.jobs(number, fields)
        for part, job in enumerate(made):
            if isinstance(job, LineaError):
                if shard.number == 1:
                    counts.bad_lines += 1
                    counts.note(number, clipped(str(job)))
                    ledger.meet(bad_line_name(number, part), number, part, {})
                    bad_line(number, part, job)
                continue
            if not shard.owns(job.digest):
                continue
            if new := [name for one in job.columns if (name := f"{META}.{one}") not in counts.columns]:
                counts.columns += new
                carried(new)
            state = ledger.meet(job.digest, number, part, job.columns)
            if state is not None:
                _count(counts, state)
            if state is None or met(state, job):
                yield job


def _count(counts: Counts, state: State) -> None:
    if state in (State.DONE, State.UNSCORED):
        counts.skipped += 1
    elif state is State.FAILED:
        counts.failed += 1
    else:
        counts.duplicates += 1
