"""`generate_batch`: images of any number of jobs, of which none is lost or made twice, however often it is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LineaError
from ..pipelines.pipeline import LinEASDiffusionPipeline
from ..pipelines.rendering.batch_size import BatchSize, BatchSizeArgument
from ..pipelines.rendering.requests import grouped
from ..progress import bar_of
from ..scoring.tables import write_conventions
from .describing import COLUMNS, SCORED
from .folder.index import JobIndex
from .folder.layout import FORMATS, Layout
from .folder.lines import read_lines
from .folder.locks import others_at_work, release_share, take_share
from .folder.merging import merge
from .folder.shares import process_share
from .jobs.jobs import JobMaker
from .jobs.reading import read_jobs
from .planning import Counts, planned_jobs
from .progress import Bar
from .run import BatchRun, BatchSettings, Event

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer

Jobs = str | Path | Iterable[Mapping[str, Any] | str] | Any
"""Any is a DataFrame."""


@dataclass
class BatchSummary(Counts):
    """What `generate_batch` did; of several processes, what this one did.

    Attributes:
        seconds: it took.
        stopped: whether it was asked to stop before the end.
        images: lines of ``metadata.jsonl``; None when another process is still at work, which will write it.
        failures: lines of ``failures.jsonl``, or None as above.
        leftovers: images of earlier runs that no line asks for any more, put aside in ``.linea/leftovers``; None as
            above.
        pruned: leftovers that were removed.
        damaged: lines and files in ``.linea`` that no batch wrote, and that were passed over.
    """

    seconds: float = 0.0
    stopped: bool = False
    images: int | None = None
    failures: int | None = None
    leftovers: int | None = None
    pruned: int = 0
    damaged: int = 0


def generate_batch(
    pipe: Any,
    jobs: Jobs,
    out: str | Path,
    *,
    defaults: Mapping[str, Any] | None = None,
    batch_size: BatchSizeArgument = "auto",
    window: int = 1024,
    image_format: str = "png",
    scorer: ClipScorer | None = None,
    strict: bool = False,
    retry_failed: bool = False,
    prune: bool = False,
    progress: bool = True,
    stop: Callable[[], bool] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> BatchSummary:
    """Render jobs into a folder that Hugging Face ``datasets`` loads as an ``imagefolder``.

    Run again, it goes on where it was; nothing that is finished is made again. The present jobs decide what is in
    ``metadata.jsonl`` and in which order; images of earlier ones that they do not ask for are put aside in
    ``.linea/leftovers``, and come back when they are asked for again. Several processes (torchrun,
    ``accelerate launch``) share the jobs.

    Args:
        pipe: a `LinEASDiffusionPipeline`, or a diffusers pipeline. A job without ``steering`` and ``strength`` does
            what ``pipe(prompt)`` does.
        jobs: a ``.jsonl``, ``.csv`` or ``.txt`` file, a DataFrame, or an iterable of dicts or prompts; read as it is
            needed. What is None, null or NaN is left out. The
            fields are ``prompt``, ``negative_prompt``, ``seed`` (0), ``images``, ``strength``, ``steering``, ``steps``,
            ``guidance``, ``width``, ``height``, ``size``, ``denoising_strength``, the dials of a call, and every
            argument of the base pipeline. ``{a,b}`` in prompts, lists of seeds and strengths give several images. Other
            columns, and all that are called ``meta.NAME``, are carried into the metadata as ``meta.NAME``; a name that
            nearly is a field is a bad line.
        out: the folder: ``images/``, ``metadata.jsonl``, ``failures.jsonl``.
        defaults: fields for what a job leaves out.
        batch_size: images at once, or ``"auto"``; it is halved whenever memory runs out.
        window: how many jobs may wait for others of the same shape.
        image_format: ``png``, ``jpg`` or ``webp``.
        scorer: adds the figures `describing.SCORED` to every line, also to lines of images that are there already.
        strict: stop at the first line that no job can be made of.
        retry_failed: try jobs again that failed in an earlier run.
        prune: remove what is left over, unless the run was stopped, asks for nothing or has bad lines.
        progress: show a bar (in the main process).
        stop: asked before each batch; when it says True, what is under way is finished, and that is all.
        on_event: told of everything that happens, as dicts with a key ``event``: ``start``, ``image``, ``skipped``,
            ``duplicate``, ``failure``, ``bad_line``, ``columns`` (no fields; when they are first met), ``end``.

    Raises:
        LineaError: arguments that no batch can have, a file that cannot be read, a folder that cannot be written or is
            in use, a broken device; with ``strict`` a bad line. What is finished stays finished.
    """
    _check(image_format, window)
    pipeline, layout, share = _wrapped(pipe), Layout(out), process_share()
    lines, size = read_jobs(jobs), BatchSize(batch_size, pipeline.base)
    maker = JobMaker(pipeline, defaults or {}, image_format)
    take_share(layout, share)
    began, bar = time.perf_counter(), Bar(jobs, defaults or {}, share) if progress and share.is_main else None
    listeners = [listener for listener in (bar and bar.tell, on_event) if listener]
    settings = BatchSettings(window, image_format, scorer, strict, retry_failed, stop or (lambda: False), listeners)
    run = BatchRun(pipeline, layout, share, maker, size, settings)
    try:
        stopped = run.through(lines)
    except BaseException:
        run.close()
        raise
    finally:
        release_share(layout, share)
        if bar is not None:
            bar.close()
    summary = BatchSummary(**vars(run.counts), stopped=stopped, damaged=run.index.damaged + len(layout.foreign()))
    if not others_at_work(layout, share):
        merged = merge(layout, share.rank, None if stopped else run.index.plan())
        if scorer is not None:
            write_conventions(layout.metadata, ["prompt", "strength", "seed", *SCORED], hidden=True)
        summary.images, summary.failures, summary.leftovers = merged.images, merged.failures, merged.leftovers
        _check_kept(layout, summary)
        if prune and not (stopped or _has_lines(layout.bad_lines)) and merged.images:
            summary.pruned, summary.leftovers = merged.leftovers, 0
            layout.prune()
    run.close()
    summary.seconds = time.perf_counter() - began
    run.tell("end", **asdict(summary))
    return summary


@dataclass
class BatchPlan(Counts):
    """What `generate_batch` would do; ``done`` is 0.

    Attributes:
        images: how many it would make.
        batches: in how many calls.
        leftovers: images that are there and that no line asks for.
    """

    images: int = 0
    batches: int = 0
    leftovers: int = 0


def plan_batch(
    pipe: Any,
    jobs: Jobs,
    out: str | Path,
    *,
    defaults: Mapping[str, Any] | None = None,
    batch_size: BatchSizeArgument = "auto",
    window: int = 1024,
    image_format: str = "png",
    scorer: ClipScorer | None = None,
    strict: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
    on_bad_line: Callable[[int, LineaError], None] | None = None,
) -> BatchPlan:
    """Count what `generate_batch` would do with the same arguments. Nothing is rendered and nothing written.

    Args:
        on_bad_line: told of every line that no job can be made of. The others are those of `generate_batch`.

    Raises:
        LineaError: as `generate_batch`.
    """
    _check(image_format, window)
    pipeline, layout, plan = _wrapped(pipe), Layout(out), BatchPlan()
    lines, size, index = read_jobs(jobs), BatchSize(batch_size, pipeline.base), JobIndex()
    maker = JobMaker(pipeline, defaults or {}, image_format)
    index.read(layout, failures=not retry_failed, columns=(*COLUMNS, *(SCORED if scorer else ())))

    def bad_line(line: int, part: int, error: LineaError) -> None:
        if strict:
            raise LineaError(f"line {line}: {error}")
        plan.bad_lines += 1
        plan.note(line, error)
        if on_bad_line is not None:
            on_bad_line(line, error)

    seen = bar_of(iterable=lines, desc="plan", unit="line", disable=not progress)
    planned = planned_jobs(seen, maker, index, process_share(), plan, bad_line)
    for batch in grouped(planned, size.of, window):
        plan.images += len(batch)
        plan.batches += 1
    plan.leftovers = index.count_left_over(layout)
    index.close()
    return plan


def _check_kept(layout: Layout, summary: BatchSummary) -> None:
    """Images that were there or made during the run must be there at its end."""
    expected, count = summary.done + summary.skipped, summary.images or 0
    if count < expected:
        raise LineaError(
            f"got {expected - count} of {expected} images removed from {str(layout.images)!r} while the batch was "
            "running: expected them to stay; start again, they are made again"
        )


def _has_lines(path: Path) -> bool:
    return any(True for _ in read_lines(path))


def _wrapped(pipe: Any) -> LinEASDiffusionPipeline:
    return pipe if isinstance(pipe, LinEASDiffusionPipeline) else LinEASDiffusionPipeline(pipe)


def _check(image_format: str, window: int) -> None:
    if image_format not in FORMATS:
        raise LineaError(f"got image format {image_format!r}: expected one of {', '.join(FORMATS)}")
    if not isinstance(window, int) or window < 1:
        raise LineaError(f"got window {window!r}: expected a whole number above 0")
