"""`generate_batch`: images of any number of jobs, of which none is lost or made twice, however often it is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LineaError
from ..pipelines.rendering.batch_size import BatchSize, BatchSizeArgument
from ..pipelines.rendering.requests import grouped
from ..progress import bar_of
from ..scoring.tables import write_conventions
from .describing import SCORED
from .folder.folder import FORMATS, Folder
from .folder.ledger import Ledger
from .folder.locks import release, take
from .jobs.expanding import Texts
from .jobs.jobs import JobMaker
from .jobs.reading import read_jobs
from .painting import wrapped
from .planning import Counts, Shard, planned_jobs
from .progress import Bar
from .run import BatchRun, BatchSettings, Event

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer
    from .cluster import RayCluster

Jobs = str | Path | Iterable[Mapping[str, Any] | str] | Any
"""Any is a DataFrame."""


@dataclass
class BatchSummary(Counts):
    """What `generate_batch` did.

    Attributes:
        seconds: it took.
        stopped: whether it was asked to stop before the end.
        images: lines of ``metadata.jsonl``.
        failures: lines of ``failures.jsonl``.
        leftovers: images of earlier runs that no line asks for any more, put aside in ``.linea/leftovers``.
        pruned: leftovers that were removed.
        damaged: lines and files in ``.linea`` that no batch wrote, and that were passed over.
    """

    seconds: float = 0.0
    stopped: bool = False
    images: int = 0
    failures: int = 0
    leftovers: int = 0
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
    templates: bool | str | Path = False,
    shard: str | None = None,
    cluster: RayCluster | None = None,
    progress: bool = True,
    stop: Callable[[], bool] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> BatchSummary:
    """Render jobs into a folder that Hugging Face ``datasets`` loads as an ``imagefolder``.

    Run again, it goes on where it was; nothing that is finished is made again. The present jobs decide what is in
    ``metadata.jsonl`` and in which order; images of earlier ones that they do not ask for are put aside in
    ``.linea/leftovers``, and come back when they are asked for again.

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
        templates: prompts are templates of `dynamicprompts` (``{a|b}``, ``__NAME__``); or the folder of wildcards.
        shard: ``I/N``, the part I of N of all jobs, in ``out/shard-I-of-N``; `join_shards` makes one folder of them.
        cluster: Ray paints, and ``out`` may be a URL for fsspec; None: this process does.
        progress: show a bar.
        stop: asked before each batch; when it says True, what is under way is finished, and that is all.
        on_event: told of everything that happens, as dicts with a key ``event``: ``start``, ``image``, ``skipped``,
            ``duplicate``, ``failure``, ``bad_line``, ``columns`` (no fields; when they are first met), ``end``.

    Raises:
        LineaError: arguments that no batch can have, a file that cannot be read, a folder that cannot be written or is
            in use, a broken device; with ``strict`` a bad line. What is finished stays finished.
    """
    pipeline, part = wrapped(pipe), Shard.parse(shard)
    folder = folder_of(out, part)
    _check(image_format, window, folder, cluster)
    lines, texts = read_jobs(jobs), _texts(templates)
    maker = JobMaker(pipeline, defaults or {}, image_format, texts)
    BatchSize(batch_size, pipeline.base)  # what is none is refused before a bar is shown
    began, bar = (
        time.perf_counter(),
        Bar(jobs, defaults or {}, part.of, texts) if progress and cluster is None else None,
    )
    listeners = [listener for listener in (bar and bar.tell, on_event) if listener]
    settings = BatchSettings(
        batch_size, window, scorer, strict, retry_failed, part, cluster, progress, stop or (lambda: False), listeners
    )
    run = BatchRun(pipeline, folder, maker, settings)
    try:
        take(folder)
        stopped = run.through(lines)
        if bar is not None:
            bar.close()
        finished = run.ledger.finish(settle=not stopped)
        summary = BatchSummary(
            **vars(run.counts), **vars(finished), stopped=stopped, damaged=run.ledger.damaged + len(folder.foreign())
        )
        _check_kept(folder, summary)
        if scorer is not None and folder.is_local:
            write_conventions(folder.here / "metadata.jsonl", ["prompt", "strength", "seed", *SCORED], hidden=True)
        if prune and not (stopped or summary.bad_lines) and summary.images:
            summary.pruned, summary.leftovers = summary.leftovers, 0
            folder.prune()
    finally:
        run.ledger.close()
        release(folder)
        if bar is not None:
            bar.close()
    summary.seconds = time.perf_counter() - began
    run.tell("end", **asdict(summary))
    return summary


def folder_of(out: str | Path, shard: Shard) -> Folder:
    """The folder of a batch, or of its part of it."""
    folder = Folder(out)
    return folder if shard.of == 1 else Folder(f"{str(out).rstrip('/')}/{shard.folder_name}")


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
    templates: bool | str | Path = False,
    shard: str | None = None,
    progress: bool = True,
    on_bad_line: Callable[[int, LineaError], None] | None = None,
) -> BatchPlan:
    """Count what `generate_batch` would do with the same arguments. Nothing is rendered and nothing written.

    Args:
        on_bad_line: told of every line that no job can be made of. The others are those of `generate_batch`.

    Raises:
        LineaError: as `generate_batch`.
    """
    pipeline, part, plan = wrapped(pipe), Shard.parse(shard), BatchPlan()
    folder = folder_of(out, part)
    _check(image_format, window, folder, None)
    settings = BatchSettings(batch_size, scorer=scorer)
    lines, ledger = read_jobs(jobs), Ledger(folder)
    maker, size = JobMaker(pipeline, defaults or {}, image_format, _texts(templates)), settings.size(pipeline.base)
    ledger.read(failures=not retry_failed, columns=settings.columns)

    def bad_line(line: int, part: int, error: LineaError) -> None:
        if strict:
            raise LineaError(f"line {line}: {error}")
        if on_bad_line is not None:
            on_bad_line(line, error)

    seen = bar_of(iterable=lines, desc="plan", unit="line", disable=not progress)
    for batch in grouped(planned_jobs(seen, maker, ledger, plan, part, bad_line), size.of, window):
        plan.images += len(batch)
        plan.batches += 1
    plan.leftovers = ledger.count_left_over()
    ledger.close()
    return plan


def _texts(templates: bool | str | Path) -> Texts | None:
    if templates is False:
        return None
    from .jobs.templates import Templates

    return Templates(None if templates is True else templates)


def _check_kept(folder: Folder, summary: BatchSummary) -> None:
    """Images that were there or made during the run must be there at its end."""
    expected, count = summary.done + summary.skipped, summary.images
    if count < expected:
        raise LineaError(
            f"got {expected - count} of {expected} images removed from {folder.path('images')!r} while the batch was "
            "running: expected them to stay; start again, they are made again"
        )


def _check(image_format: str, window: int, folder: Folder, cluster: RayCluster | None) -> None:
    if image_format not in FORMATS:
        raise LineaError(f"got image format {image_format!r}: expected one of {', '.join(FORMATS)}")
    if not isinstance(window, int) or window < 1:
        raise LineaError(f"got window {window!r}: expected a whole number above 0")
    if cluster is None and not folder.is_local:
        raise LineaError(f"got output folder {folder.name!r}: expected a folder of this machine; a URL needs --ray")
