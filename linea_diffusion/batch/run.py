"""One run of a batch: what is known is read, the rest planned and painted, here or by Ray, and told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..concepts.notices import noticing
from ..errors import LineaError
from ..pipelines.calling import without_bar
from ..pipelines.rendering.batch_size import BatchSize, BatchSizeArgument
from ..pipelines.rendering.requests import grouped
from ..scoring.images.opening import open_images
from .describing import COLUMNS, SCORED, bad_line_row
from .folder.folder import FORMATS, Folder, Row, leftover
from .folder.ledger import Ledger, State
from .folder.saver import Saver
from .jobs.expanding import Texts
from .jobs.jobs import Job, JobMaker
from .jobs.reading import Line, read_jobs
from .painting import Painter, wrapped
from .planning import Counts, Shard, planned_jobs

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer
    from .cluster import RayCluster

Event = dict[str, Any]
_MOST_FAR = 64


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What `generate_batch` is told beside pipeline, jobs and folder, by the same names."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    batch_size: BatchSizeArgument = "auto"
    window: int = 1024
    image_format: str = "png"
    scorer: ClipScorer | None = None
    strict: bool = False
    retry_failed: bool = False
    prune: bool = False
    templates: bool | str | Path = False
    shard: str | None = None
    cluster: RayCluster | None = None
    progress: bool = False
    stop: Callable[[], bool] = lambda: False
    on_event: Callable[[Event], None] | None = None

    def __post_init__(self) -> None:
        if self.image_format not in FORMATS:
            raise LineaError(f"got image format {self.image_format!r}: expected one of {', '.join(FORMATS)}")
        if not isinstance(self.window, int) or self.window < 1:
            raise LineaError(f"got window {self.window!r}: expected a whole number above 0")

    @property
    def columns(self) -> tuple[str, ...]:
        """What the line of a finished image must have."""
        return (*COLUMNS, *(SCORED if self.scorer else ()))

    @property
    def texts(self) -> Texts | None:
        """What reads prompts, see `expand`."""
        if self.templates is False:
            return None
        from .jobs.templates import Templates

        return Templates(None if self.templates is True else self.templates)

    def size(self, pipe: Any) -> BatchSize:
        """Of batches; for GPUs elsewhere the largest that they may take, of which each makes what fits."""
        far = self.batch_size == "auto" and self.cluster is not None and self.cluster.gpus > 0
        return BatchSize(_MOST_FAR if far else self.batch_size, pipe)


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
        self.folder, self.lines = folder_of(out, self.shard), read_jobs(jobs)
        if settings.cluster is None and not self.folder.is_local:
            raise LineaError(
                f"got output folder {self.folder.name!r}: expected one on this machine; Ray (--ray) writes there"
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

    def groups(
        self, lines: Iterable[Line], met: Callable[[State, Job], bool] = lambda state, job: False
    ) -> Iterator[list[Job]]:
        """Jobs of lines that are to be done, in groups of one shape; `met` is told of the others."""
        jobs = planned_jobs(
            lines, self.maker, self.ledger, self.counts, self.shard, self._bad_line, met,
            lambda names: self.tell("columns", names=names),
        )  # fmt: skip
        return grouped(jobs, self._size.of, self.settings.window)

    def _until_stopped(self) -> Iterator[Line]:
        return takewhile(lambda line: not self.settings.stop(), self.lines)

    def _paint_here(self) -> None:
        saver = Saver(self.folder)
        try:
            for batch in self.groups(self._until_stopped(), self._passed):
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

    def _passed(self, state: State, job: Job) -> bool:
        """Tell of a job that is not to be painted; whether its image needs another line."""
        self.tell({State.FAILED: "failed_before", State.PLANNED: "duplicate"}.get(state, "skipped"))
        if state in (State.DONE, State.UNSCORED) and not self.folder.has(job.file_name):
            self.folder.move(leftover(job.file_name), job.file_name)
        return state is State.UNSCORED

    def _bad_line(self, line: int, part: int, error: LineaError) -> None:
        if self.settings.strict:
            raise LineaError(f"line {line}: {error}")
        row: Row = bad_line_row(line, part, error)
        self.ledger.add([row])
        self.tell("bad_line", line=line, reason=row["reason"])

    def _paint_there(self, cluster: RayCluster) -> None:
        from .cluster import paint_on_ray
        from .remote import task_of
        from .worker import Opening

        settings, ending = self.settings, self.maker.ending
        groups = self.groups(self._until_stopped(), self._passed)
        tasks = ([task_of(job, ending, self.ledger.is_there(job.digest)) for job in group] for group in groups)
        opening = Opening(cluster.open, self.maker.model, ending, settings.batch_size, settings.scorer)
        run = paint_on_ray(cluster, tasks, self.folder, opening, progress=settings.progress)
        self.folder.clear_unfinished()  # of actors that were killed
        if run is not None:
            self._note(self.folder.rows_of(run))


def folder_of(out: str | Path, shard: Shard) -> Folder:
    """The folder of a batch, or of its part of it."""
    return Folder(out if shard.of == 1 else f"{str(out).rstrip('/')}/{shard.folder_name}")
