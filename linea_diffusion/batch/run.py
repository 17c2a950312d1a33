"""One process' work on its share of a batch: prepare, render, save, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..concepts.notices import noticing
from ..errors import LineaError, clipped
from ..pipelines.pipeline import LinEASDiffusionPipeline
from ..pipelines.rendering.batch_size import BatchSize
from ..pipelines.rendering.render import render_group
from ..pipelines.rendering.requests import grouped
from ..scoring.images.opening import open_images
from ..steering.addresses import model_name
from .describing import COLUMNS, SCORED, bad_line_row, failure_row, metadata_row, recipe_of, scores_of
from .folder.index import JobIndex, State
from .folder.layout import Layout, image_name, rank_of
from .folder.lines import LineFile
from .folder.merging import is_current, merge
from .folder.saver import Finished, Saved, Saver, clear_unfinished
from .folder.shares import Share
from .jobs.jobs import Job, JobMaker
from .jobs.reading import Line
from .planning import Counts, planned_jobs

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer

Event = dict[str, Any]
_SCORED_AT_ONCE = 64


@dataclass(frozen=True)
class BatchSettings:
    """What a run is told beside its jobs; see `generate_batch`.

    Attributes:
        window: how many jobs may wait for others of the same shape.
        ending: of image files.
        scorer: of the figures, or None.
        strict: stop at a bad line.
        retry_failed: forget earlier failures.
        stop: whether to stop.
        listeners: told of every event.
    """

    window: int = 1024
    ending: str = "png"
    scorer: ClipScorer | None = None
    strict: bool = False
    retry_failed: bool = False
    stop: Callable[[], bool] = lambda: False
    listeners: Sequence[Callable[[Event], None]] = ()


@contextmanager
def silent(pipe: Any) -> Iterator[None]:
    """Within the context a pipeline shows no progress bar of its own."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**before | {"disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


class BatchRun:
    """One process' work on its share.

    Attributes:
        counts: what became of the images.
        index: what is known of jobs; closed with the run.
    """

    def __init__(
        self,
        pipe: LinEASDiffusionPipeline,
        layout: Layout,
        share: Share,
        maker: JobMaker,
        size: BatchSize,
        settings: BatchSettings,
    ) -> None:
        self.counts, self.index = Counts(), JobIndex()
        self._unscored: list[Job] = []
        self._layout, self._share, self._maker, self._size, self._settings = layout, share, maker, size, settings
        self._model = model_name(pipe.base) or type(pipe.base).__name__
        self._pipe = LinEASDiffusionPipeline(pipe.base)  # the user's adapters stay as they are

    def tell(self, event: str, **facts: Any) -> None:
        """Report an event to whoever listens."""
        for listener in self._settings.listeners:
            listener({"event": event, **facts})

    def close(self) -> None:
        """Forget the index."""
        self.index.close()

    def through(self, lines: Iterable[Line]) -> bool:
        """Do all jobs; returns whether it was stopped before the end."""
        with silent(self._pipe.base), noticing(self._pipe.base):
            return self._through(lines)

    def _through(self, lines: Iterable[Line]) -> bool:
        self._prepare()
        failures = LineFile(self._layout.failure_shard(self._share.rank))
        saver = Saver(self._layout, self._share.rank, self._settings.ending, lambda saved: self._saved(saved, failures))
        bad_lines = self._bad_lines()
        try:
            jobs = planned_jobs(
                self._until_stopped(lines), self._maker, self.index, self._share, self.counts,
                lambda line, part, error: self._bad_line(bad_lines, line, part, error),
                lambda state, job: self._passed(state, job, saver), lambda names: self.tell("columns", names=names),
            )  # fmt: skip
            for batch in grouped(jobs, self._size.of, self._settings.window):
                if self._settings.stop():
                    break
                self._do(batch, saver, failures)
            self._score_present(saver)
            saver.flush()
            saver.check()
        finally:
            saver.close()
            failures.close()
            if bad_lines is not None:
                bad_lines.close()
        return self._settings.stop()

    def _prepare(self) -> None:
        """Learn what is known of earlier runs, after what they left half done is cleared away."""
        layout, share, index = self._layout, self._share, self.index
        if self._settings.retry_failed:
            for shard in layout.failure_shards():
                if self._clears(rank_of(shard)):
                    shard.unlink(missing_ok=True)
        clear_unfinished(layout, self._clears)
        columns = (*COLUMNS, *(SCORED if self._settings.scorer else ()))
        index.read(layout, failures=not self._settings.retry_failed, columns=columns)
        if share.is_main and not self._settings.retry_failed and not is_current(layout):
            merge(layout, share.rank)
        self.tell(
            "start", out=str(layout.folder), rank=share.rank, world=share.world, present=index.count(State.DONE),
            failed_before=index.count(State.FAILED), damaged_lines=index.damaged,
            foreign=[str(path) for path in layout.foreign()],
        )  # fmt: skip

    def _clears(self, rank: int) -> bool:
        """Whether this process clears up after one of an earlier run: its own rank, and the main one what is left."""
        return rank == self._share.rank or (self._share.is_main and rank >= self._share.world)

    def _until_stopped(self, lines: Iterable[Line]) -> Iterator[Line]:
        for line in lines:
            if self._settings.stop():
                return
            yield line

    def _do(self, batch: Sequence[Job], saver: Saver, failures: LineFile) -> None:
        images: list[tuple[Job, Image.Image]] = []
        self._load(batch)
        for job, outcome in render_group(self._pipe, batch, self._size):
            if isinstance(outcome, LineaError):
                self._fail(job, outcome, failures)
            else:
                images.append((job, outcome))
        saver.save(self._described(images))

    def _load(self, batch: Sequence[Job]) -> None:
        """Let the pipeline have the batch's styles and no others, in the order in which they act."""
        self._pipe.steering.clear()
        self._pipe.steering.update({name: self._maker.sets[name] for job in batch for name in job.strength})

    def _fail(self, job: Job, error: LineaError, failures: LineFile) -> None:
        failures.append([failure_row(job, error)])
        self.counts.failed += 1
        self.counts.note(job.line, error)
        self.tell("failure", line=job.line, job=job.digest, reason=clipped(str(error)))

    def _described(self, images: Sequence[tuple[Job, Image.Image]]) -> list[Finished]:
        sets, pictures = self._maker.sets, [image for _, image in images]
        figures = scores_of(self._settings.scorer, [job for job, _ in images], pictures, sets)
        return [
            Finished(
                job,
                image,
                metadata_row(
                    job,
                    image,
                    ending=self._settings.ending,
                    model=self._model,
                    sets=sets,
                    figures=scores,
                    nsfw=None if self._pipe.components.get("safety_checker") is None else False,
                ),
                recipe_of(job, model=self._model, sets=sets),
            )
            for (job, image), scores in zip(images, figures, strict=True)
        ]

    def _saved(self, saved: Saved, failures: LineFile) -> None:
        written, refused = saved
        for one in written:
            self.counts.done += 1
            self.tell("image", file_name=one.row["file_name"], line=one.job.line, seed=one.job.seed)
        for job, error in refused:
            self._fail(job, error, failures)

    def _passed(self, state: State, job: Job, saver: Saver) -> None:
        names = {State.FAILED: "failed_before", State.PLANNED: "duplicate"}
        self.tell(names.get(state, "skipped"))
        if state in (State.DONE, State.UNSCORED):
            self._layout.restore(image_name(job.digest, self._settings.ending))
        if state is State.UNSCORED:
            self._unscored.append(job)
            if len(self._unscored) >= _SCORED_AT_ONCE:
                self._score_present(saver)

    def _score_present(self, saver: Saver) -> None:
        """Images of an earlier run whose lines lack figures or other columns get new lines that have them."""
        jobs, self._unscored = self._unscored, []
        paths = [self._layout.folder / image_name(job.digest, self._settings.ending) for job in jobs]
        images = list(zip(jobs, open_images(paths), strict=True))
        if images:
            saver.note([one.row for one in self._described(images)])

    def _bad_lines(self) -> LineFile | None:
        """Every process reads all lines; the main one reports the bad ones, anew each time."""
        if not self._share.is_main:
            return None
        self._layout.bad_lines.unlink(missing_ok=True)
        return LineFile(self._layout.bad_lines)

    def _bad_line(self, bad_lines: LineFile | None, line: int, part: int, error: LineaError) -> None:
        if self._settings.strict:
            raise LineaError(f"line {line}: {error}")
        if bad_lines is not None:
            bad_lines.append([bad_line_row(line, part, error)])
            self.counts.bad_lines += 1
            self.counts.note(line, error)
            self.tell("bad_line", line=line, reason=clipped(str(error)))
