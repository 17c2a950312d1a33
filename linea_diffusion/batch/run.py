"""One run of a batch: what is known is read, the rest planned and painted, here or by Ray, and told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..concepts.notices import noticing
from ..errors import LineaError
from ..pipelines.pipeline import LinEASDiffusionPipeline
from ..pipelines.rendering.batch_size import BatchSize, BatchSizeArgument
from ..pipelines.rendering.requests import grouped
from ..scoring.images.opening import open_images
from .describing import COLUMNS, SCORED, bad_line_row, failure_row
from .folder.folder import Folder, Row, image_name, leftover
from .folder.ledger import Ledger, State
from .folder.saver import Saved, Saver
from .jobs.jobs import Job, JobMaker
from .jobs.reading import Line
from .painting import Painter, silent
from .planning import Counts, Shard, planned_jobs

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer
    from .cluster import RayCluster

Event = dict[str, Any]
_SCORED_AT_ONCE = _MOST_FAR = 64


@dataclass(frozen=True)
class BatchSettings:
    """What a run is told beside its jobs; see `generate_batch`.

    Attributes:
        batch_size: images at once, or ``"auto"``.
        window: how many jobs may wait for others of the same shape.
        scorer: of the figures, or None.
        strict: stop at a bad line.
        retry_failed: forget earlier failures.
        shard: of all jobs.
        cluster: that paints, or None.
        progress: whether a bar is shown.
        stop: whether to stop.
        listeners: told of every event.
    """

    batch_size: BatchSizeArgument = "auto"
    window: int = 1024
    scorer: ClipScorer | None = None
    strict: bool = False
    retry_failed: bool = False
    shard: Shard = field(default_factory=Shard)
    cluster: RayCluster | None = None
    progress: bool = False
    stop: Callable[[], bool] = lambda: False
    listeners: Sequence[Callable[[Event], None]] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """What the line of a finished image must have."""
        return (*COLUMNS, *(SCORED if self.scorer else ()))

    def size(self, pipe: Any) -> BatchSize:
        """Of batches; for GPUs elsewhere the largest that they may take, of which each makes what fits."""
        far = self.batch_size == "auto" and self.cluster is not None and self.cluster.gpus > 0
        return BatchSize(_MOST_FAR if far else self.batch_size, pipe)


class BatchRun:
    """One run of a batch in a folder.

    Attributes:
        counts: what became of the images.
        ledger: what is known of jobs; closed by who made the run.
    """

    def __init__(self, pipe: LinEASDiffusionPipeline, folder: Folder, maker: JobMaker, settings: BatchSettings) -> None:
        self.counts, self.ledger, self._size = Counts(), Ledger(folder), settings.size(pipe.base)
        self._painter = Painter(pipe, maker, self._size, settings.scorer)
        self._unscored: list[Job] = []
        self._base, self._folder, self._maker, self._settings = pipe.base, folder, maker, settings

    def tell(self, event: str, **facts: Any) -> None:
        """Report an event to whoever listens."""
        for listener in self._settings.listeners:
            listener({"event": event, **facts})

    def through(self, lines: Iterable[Line]) -> bool:
        """Do all jobs; returns whether it was stopped before the end."""
        self._folder.clear_unfinished()
        self.ledger.read(failures=not self._settings.retry_failed, columns=self._settings.columns)
        self.tell(
            "start", out=self._folder.name, present=self.ledger.count("image"),
            failed_before=self.ledger.count("failure"), damaged_lines=self.ledger.damaged,
            foreign=self._folder.foreign(),
        )  # fmt: skip
        with silent(self._base), noticing(self._base):
            if self._settings.cluster is None:
                self._paint_here(lines)
            else:
                self._paint_there(lines, self._settings.cluster)
        return self._settings.stop()

    def _groups(self, lines: Iterable[Line], met: Callable[[State, Job], bool]) -> Iterator[list[Job]]:
        jobs = planned_jobs(
            self._until_stopped(lines), self._maker, self.ledger, self.counts, self._settings.shard, self._bad_line,
            met, lambda names: self.tell("columns", names=names),
        )  # fmt: skip
        return grouped(jobs, self._size.of, self._settings.window)

    def _until_stopped(self, lines: Iterable[Line]) -> Iterator[Line]:
        for line in lines:
            if self._settings.stop():
                return
            yield line

    def _paint_here(self, lines: Iterable[Line]) -> None:
        saver = Saver(self._folder, lambda saved: self._saved(saved, saver))
        try:
            for batch in self._groups(lines, lambda state, job: self._passed(state, job, saver)):
                if self._settings.stop():
                    break
                painted, failed = self._painter.paint(batch)
                self._fail(failed, saver)
                saver.save(painted)
            self._score_present(saver)
            saver.flush()
            saver.check()
        finally:
            saver.close()

    def _saved(self, saved: Saved, saver: Saver) -> None:
        written, refused = saved
        self._note([one.row for one in written])
        self._fail(refused, saver)

    def _fail(self, failed: Sequence[tuple[Job, LineaError]], saver: Saver) -> None:
        if failed:
            rows = [failure_row(job, error) for job, error in failed]
            saver.note(rows)
            self._note(rows)

    def _note(self, rows: Iterable[Mapping[str, Any] | None]) -> None:
        """Count, tell and remember what came of jobs, which is on the disk."""
        for row in rows:
            known = row is not None and self.ledger.has_line(row)
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

    def _passed(self, state: State, job: Job, saver: Saver | None = None) -> bool:
        names = {State.FAILED: "failed_before", State.PLANNED: "duplicate"}
        self.tell(names.get(state, "skipped"))
        name = image_name(job.digest, self._maker.ending)
        if state in (State.DONE, State.UNSCORED) and not self._folder.has(name):
            self._folder.move(leftover(name), name)
        if state is State.UNSCORED and saver is not None:
            self._unscored.append(job)
            if len(self._unscored) >= _SCORED_AT_ONCE:
                self._score_present(saver)
        return state is State.UNSCORED and saver is None

    def _score_present(self, saver: Saver) -> None:
        """Images of an earlier run whose lines lack figures or other columns get new lines that have them."""
        jobs, self._unscored = self._unscored, []
        paths = [self._folder.here / image_name(job.digest, self._maker.ending) for job in jobs]
        rows = [one.row for one in self._painter.described(list(zip(jobs, open_images(paths), strict=True)))]
        if rows:
            saver.note(rows)
            self.ledger.add(rows)

    def _bad_line(self, line: int, part: int, error: LineaError) -> None:
        if self._settings.strict:
            raise LineaError(f"line {line}: {error}")
        row: Row = bad_line_row(line, part, error)
        self.ledger.add([row])
        self.tell("bad_line", line=line, reason=row["reason"])

    def _paint_there(self, lines: Iterable[Line], cluster: RayCluster) -> None:
        from .cluster import paint_on_ray
        from .remote import task_of
        from .worker import Opening

        settings, ending = self._settings, self._maker.ending
        groups = self._groups(lines, self._passed)
        tasks = ([task_of(job, ending, self.ledger.is_there(job.digest)) for job in group] for group in groups)
        opening = Opening(cluster.open, self._maker.model, ending, settings.batch_size, settings.scorer)
        run = paint_on_ray(cluster, tasks, self._folder, opening, progress=settings.progress)
        self._folder.clear_unfinished()  # of actors that were killed
        if run is not None:
            self._note(self._folder.rows_of(run))
