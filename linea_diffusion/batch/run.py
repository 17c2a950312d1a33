"""One run of a batch: what is known is read, the rest planned and painted, here or by Ray, and told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..concepts.notices import noticing
from ..errors import LineaError
from ..pipelines.calling import without_bar
from ..pipelines.rendering.requests import grouped
from ..scoring.images.opening import open_images
from .describing import bad_line_row
from .folder.folder import Row, leftover
from .folder.ledger import Ledger, State
from .folder.saver import Saver
from .jobs.field_names import META
from .jobs.jobs import Job, JobMaker
from .jobs.reading import Line, read_jobs
from .painting import Painter, wrapped
from .planning import BatchSettings, Counts, Shard

if TYPE_CHECKING:
    from .cluster import RayCluster

_PASSED = {
    State.DONE: ("skipped", "skipped"),
    State.UNSCORED: ("skipped", "skipped"),
    State.FAILED: ("failed", "failed_before"),
    State.PLANNED: ("duplicates", "duplicate"),
}
"""What is known of a job that is not to be painted -> where it is counted, and the event that tells of it."""


class BatchRun:
    """One run of a batch in a folder; its ledger is closed by who made the run.

    Attributes:
        counts: what became of the images.
        listeners: told of every event.

    Raises:
        LineaError: no such jobs, folder, batch size or defaults.
    """

    def __init__(self, pipe: Any, jobs: Any, out: str | Path, settings: BatchSettings) -> None:
        pipe, self.settings, self.shard = wrapped(pipe), settings, Shard.parse(settings.shard)
        self.folder, self.lines = self.shard.folder(out), read_jobs(jobs)
        if settings.cluster is None and not self.folder.is_local:
            raise LineaError(
                f"got output folder {self.folder.name!r}: expected a folder of this machine; a URL needs --ray"
            )
        self.maker = JobMaker(pipe, settings.defaults, settings.image_format, settings.texts)
        self._size, self.counts, self.ledger = settings.size(pipe.base), Counts(), Ledger(self.folder)
        self.listeners = [] if settings.on_event is None else [settings.on_event]
        self._base, self._painter = pipe.base, Painter(pipe, self.maker, self._size, settings.scorer)

    def tell(self, event: str, **facts: Any) -> None:
        """Report an event to whoever listens."""
        for listener in self.listeners:
            listener({"event": event, **facts})

    def read(self) -> None:
        """Take in what earlier runs did."""
        self.ledger.read(failures=not self.settings.retry_failed, columns=self.settings.columns)

    def through(self) -> bool:
        """Do all jobs; returns whether it was stopped before the end."""
        self.folder.clear_unfinished()
        self.read()
        self.tell(
            "start", out=self.folder.name, present=self.ledger.count("image"),
            failed_before=self.ledger.count("failure"), damaged_lines=self.ledger.damaged,
            foreign=self.folder.foreign(),
        )  # fmt: skip
        with without_bar(self._base), noticing(self._base):
            if self.settings.cluster is None:
                self._paint_here()
            else:
                self._paint_there(self.settings.cluster)
        return self.settings.stop()

    def groups(self, lines: Iterable[Line], *, dry: bool = False) -> Iterator[list[Job]]:
        """Jobs of lines that are to be done, in groups of one shape; others are counted and told of.

        Images that are there come back from the leftovers, and are among the jobs if their lines need more columns;
        not so in a dry run.
        """
        return grouped(self._planned(lines, dry), self._size.of, self.settings.window)

    def _planned(self, lines: Iterable[Line], dry: bool) -> Iterator[Job]:
        for number, fields in lines:
            made: Iterable[Job | LineaError] = (
                [fields] if isinstance(fields, LineaError) else self.maker.jobs(number, fields)
            )
            for part, job in enumerate(made):
                if isinstance(job, LineaError):
                    self._bad_line(number, part, job)
                elif self.shard.owns(job.digest) and self._is_to_do(job, dry):
                    yield job

    def _bad_line(self, line: int, part: int, error: LineaError) -> None:
        if self.shard.number > 1:
            return
        if self.settings.strict:
            raise LineaError(f"line {line}: {error}")
        row = bad_line_row(line, part, error)
        self.counts.bad_lines += 1
        self.counts.note(line, row["reason"])
        self.ledger.meet(row["job"], line, part, {})
        self.ledger.add([row])
        self.tell("bad_line", line=line, reason=row["reason"])

    def _is_to_do(self, job: Job, dry: bool) -> bool:
        if new := [name for one in job.columns if (name := f"{META}.{one}") not in self.counts.columns]:
            self.counts.columns += new
            self.tell("columns", names=new)
        state = self.ledger.meet(job.digest, job.line, job.part, job.columns)
        if state is None:
            return True
        counted, event = _PASSED[state]
        setattr(self.counts, counted, getattr(self.counts, counted) + 1)
        self.tell(event)
        if not dry and counted == "skipped" and not self.folder.has(job.file_name):
            self.folder.move(leftover(job.file_name), job.file_name)
        return state is State.UNSCORED and not dry

    def _until_stopped(self) -> Iterator[Line]:
        return takewhile(lambda line: not self.settings.stop(), self.lines)

    def _paint_here(self) -> None:
        saver = Saver(self.folder)
        try:
            for batch in self.groups(self._until_stopped()):
                if self.settings.stop():
                    break
                present = [job for job in batch if self.ledger.has_line(job.file_name)]
                missing = [job for job in batch if job not in present]
                files = self._painter.paint(missing) if missing else ()
                described = self._described(present)
                self._note(saver.flush())
                saver.save(chain(files, ((row, None) for row in described)))
            self._note(saver.flush())
            saver.check()
        finally:
            saver.close()

    def _described(self, jobs: Sequence[Job]) -> list[Row]:
        """New lines of images of an earlier run, whose lines lack figures or other columns."""
        images = open_images([self.folder.here / job.file_name for job in jobs])
        return self._painter.rows(list(zip(jobs, images, strict=True)))

    def _note(self, rows: Iterable[Mapping[str, Any] | None]) -> None:
        """Count, tell and remember what came of jobs, which is on the disk."""
        for row in rows:
            known = row is not None and self.ledger.has_line(row.get("file_name", ""))
            self.ledger.add([row])
            if known:  # of an image of before, which got a line with more columns
                continue
            if row is not None and "job" in row:
                self.counts.failed += 1
                self.counts.note(row["line"], row["reason"])
                self.tell("failure", line=row["line"], job=row["job"], reason=row["reason"])
            elif row is not None:
                self.counts.done += 1
                self.tell("image", file_name=row["file_name"], line=row["line"], seed=row["seed"])

    def _paint_there(self, cluster: RayCluster) -> None:
        from .cluster import paint_on_ray
        from .remote import task_of
        from .worker import Opening

        settings, ending = self.settings, self.maker.ending
        groups = self.groups(self._until_stopped())
        tasks = ([task_of(job, ending, self.ledger.is_there(job.digest)) for job in group] for group in groups)
        opening = Opening(cluster.open, self.maker.model, ending, settings.batch_size, settings.scorer)
        run = paint_on_ray(cluster, tasks, self.folder, opening, progress=settings.progress)
        self.folder.clear_unfinished()  # of actors that were killed
        if run is not None:
            self._note(self.folder.rows_of(run))
