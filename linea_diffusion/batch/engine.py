"""`generate_batch`: images of any number of jobs, of which none is lost or made twice, however often it is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LineaError
from ..pipelines.rendering.batch_size import BatchSizeArgument
from ..progress import bar_of
from ..scoring.tables import write_conventions
from .describing import SCORED
from .folder.locks import release, take
from .planning import BatchSettings, Counts, Event
from .progress import Bar
from .run import BatchRun

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
    began = time.perf_counter()
    settings = BatchSettings(
        defaults=defaults or {}, batch_size=batch_size, window=window, image_format=image_format, scorer=scorer,
        strict=strict, retry_failed=retry_failed, prune=prune, templates=templates, shard=shard, cluster=cluster,
        progress=progress, stop=stop or (lambda: False), on_event=on_event,
    )  # fmt: skip
    run = BatchRun(pipe, jobs, out, settings)
    with ExitStack() as stack:
        stack.callback(run.ledger.close)
        take(run.folder)
        stack.callback(release, run.folder)
        if progress and cluster is None:
            bar = Bar(jobs, run.maker.defaults, run.shard.of, settings.texts)
            stack.callback(bar.close)
            run.listeners.insert(0, bar.tell)
        summary = _finished(run, stopped=run.through())
    summary.seconds = time.perf_counter() - began
    run.tell("end", **asdict(summary))
    return summary


def _finished(run: BatchRun, *, stopped: bool) -> BatchSummary:
    """Write what a run came to."""
    finished, folder = run.ledger.finish(settle=not stopped), run.folder
    summary = BatchSummary(**vars(run.counts), **vars(finished), stopped=stopped)
    summary.damaged = run.ledger.damaged + len(folder.foreign())
    expected = summary.done + summary.skipped
    if summary.images < expected:
        raise LineaError(
            f"got {expected - summary.images} of {expected} images removed from {folder.path('images')!r} while the "
            "batch was running: expected them to stay; start again, they are made again"
        )
    if run.settings.scorer is not None and folder.is_local:
        write_conventions(folder.here / "metadata.jsonl", ["prompt", "strength", "seed", *SCORED], hidden=True)
    if run.settings.prune and not (stopped or summary.bad_lines) and summary.images:
        summary.pruned, summary.leftovers = summary.leftovers, 0
        folder.prune()
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
    progress: bool = True,
    on_bad_line: Callable[[int, str], None] | None = None,
    **settings: Any,
) -> BatchPlan:
    """Count what `generate_batch` would do with the same arguments. Nothing is rendered and nothing written.

    `on_bad_line` is told of every line that no job can be made of, and why. Errors are those of `generate_batch`.
    """

    def hear(event: Event) -> None:
        if on_bad_line is not None and event["event"] == "bad_line":
            on_bad_line(event["line"], event["reason"])

    run, plan = BatchRun(pipe, jobs, out, BatchSettings(**settings, on_event=hear)), BatchPlan()
    run.read()
    for batch in run.groups(bar_of(iterable=run.lines, desc="plan", unit="line", disable=not progress), dry=True):
        plan.images += len(batch)
        plan.batches += 1
    plan.leftovers = run.ledger.count_left_over()
    run.ledger.close()
    return replace(plan, **vars(run.counts))
