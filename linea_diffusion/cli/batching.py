"""The command that makes many images: batch."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LineaError
from ..training.stopping import STOP, Stopped
from .options import (
    Calibrated,
    Clip,
    ClipWeights,
    Device,
    Dtype,
    Guidance,
    Model,
    Steering,
    Steps,
    literal,
    open_steered,
)

if TYPE_CHECKING:
    from ..batch.engine import BatchPlan, BatchSummary
    from ..scoring.clip_scorer import ClipScorer

LOGS = ("bar", "json", "none")


def batch(
    jobs: Annotated[
        Path,
        typer.Argument(help="A .jsonl file (a job each line), .csv (a column each field), .txt (a prompt each line)."),
    ],
    folder: Annotated[
        str, typer.Option("--out", help="Folder for images/, metadata.jsonl and failures.jsonl.", metavar="FOLDER")
    ] = "batch",
    steering: Steering = [],  # noqa: B006
    strengths: Annotated[
        str | None, typer.Option(help="For jobs without one: 0.7, or 0,0.5,1, or FIRST:LAST:COUNT such as 0:1:5.")
    ] = None,
    calibrated: Calibrated = None,
    seed: Annotated[int, typer.Option(help="For jobs without one.")] = 0,
    images: Annotated[int, typer.Option(help="Images of each job, with seeds counted upwards.")] = 1,
    negative_prompt: Annotated[str | None, typer.Option(help="For jobs without one.")] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    size: Annotated[str | None, typer.Option(help="Pixels: 512, or width and height such as 768x512.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE: any other field of jobs; may be repeated.")
    ] = None,
    model: Model = "shapeland-unet",
    batch_size: Annotated[str, typer.Option(help="Images at once, or auto: what fits.")] = "auto",
    window: Annotated[int, typer.Option(help="How many jobs may wait for others of the same shape.")] = 1024,
    image_format: Annotated[str, typer.Option("--format", help="png, jpg or webp.")] = "png",
    score: Annotated[bool, typer.Option("--score", help="Add CLIP figures to every line of metadata.jsonl.")] = False,
    clip: Clip = "shapeland-clip",
    clip_weights: ClipWeights = None,
    grid: Annotated[
        Path | None, typer.Option(help="Also a contact sheet of the first images, such as sheet.png.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in earlier runs.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove images of earlier runs that no line asks for any more.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count images and batches.")] = False,
    log: Annotated[
        str, typer.Option("--log", "--log-format", help="bar, json (a line for each event, on standard error) or none.")
    ] = "bar",
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Render the jobs of a file into an image folder. Stopped or killed, the same command goes on where it was."""
    out = _named(folder)
    defaults = _defaults(strengths, settings or [], {
        "seed": seed, "images": images, "negative_prompt": negative_prompt, "steps": steps, "guidance": guidance,
        "size": size, "calibrated": calibrated,
    })  # fmt: skip
    chosen: dict[str, Any] = {
        "defaults": defaults, "batch_size": int(batch_size) if batch_size.isdecimal() else batch_size,
        "window": window, "image_format": image_format, "strict": strict, "retry_failed": retry_failed,
    }  # fmt: skip
    _check(jobs, out, defaults, image_format, log, grid)
    if log != "bar":
        _silence_loading()
    device = _own_device(out, device, dry_run)
    pipe = open_steered(model, steering, device, dtype)
    chosen["scorer"] = _scorer(clip, clip_weights, device) if score else None
    if dry_run:
        _plan(pipe, jobs, out, chosen, log)
    else:
        _run(pipe, jobs, out, {**chosen, "prune": prune}, log, grid)


def _named(folder: str) -> Path:
    """The output folder; as a path an empty name would be the folder that one is in."""
    from ..batch.folder.layout import Layout

    return Layout(folder).folder


def _check(jobs: Path, out: Path, defaults: dict[str, Any], image_format: str, log: str, grid: Path | None) -> None:
    """What can be refused before anything is loaded."""
    from ..batch.folder.layout import FORMATS
    from ..batch.jobs.defaults import check_defaults
    from ..batch.jobs.reading import read_jobs
    from ..scoring.images.opening import check_image_name

    if log not in LOGS:
        raise LineaError(f"got --log {log!r}: expected one of {', '.join(LOGS)}")
    if image_format not in FORMATS:
        raise LineaError(f"got --format {image_format!r}: expected one of {', '.join(FORMATS)}")
    check_defaults(defaults)
    read_jobs(jobs)
    if grid is None:
        return
    check_image_name(grid)
    if (out / "images").resolve() in grid.resolve().parents:
        raise LineaError(
            f"got --grid {grid}, among the images of the data set: expected a place outside {out / 'images'}"
        )


def _own_device(out: Path, device: str, dry_run: bool) -> str:
    """The GPU of this process when several share a machine; its share of the work is taken before models are loaded."""
    from ..batch.folder.layout import Layout
    from ..batch.folder.locks import take_share
    from ..batch.folder.shares import own_share

    share = own_share()
    if not dry_run:
        take_share(Layout(out), share)
    return f"cuda:{os.environ.get('LOCAL_RANK', share.rank)}" if share.world > 1 and device == "cuda" else device


def _scorer(clip: str, clip_weights: str | None, device: str) -> ClipScorer:
    from ..scoring.clip_scorer import ClipScorer

    return ClipScorer(clip, clip_weights, device=device)


def _run(pipe: Any, jobs: Path, out: Path, chosen: dict[str, Any], log: str, grid: Path | None) -> None:
    from ..batch.contact_sheet import write_sheet
    from ..batch.engine import generate_batch
    from ..batch.folder.shares import own_share

    listener = _print_json if log == "json" else None
    STOP.gentle = True
    summary = generate_batch(pipe, jobs, out, stop=STOP, progress=log == "bar", on_event=listener, **chosen)
    if grid is not None and summary.images:
        write_sheet(out, grid)
    alone = own_share().world == 1
    _print_summary(summary, out, grid if summary.images else None)
    if summary.stopped:
        raise Stopped("stopped; the same command goes on")
    failed = summary.failed + summary.bad_lines if alone else summary.failures
    if failed:  # of several processes the last one tells, because launchers end all others when one has failed
        sys.exit(1)


def _plan(pipe: Any, jobs: Path, out: Path, chosen: dict[str, Any], log: str) -> None:
    from ..batch.engine import plan_batch
    from ..errors import clipped

    def tell(line: int, error: LineaError) -> None:
        typer.echo(f"line {line}: {clipped(str(error))}", err=True)

    plan: BatchPlan = plan_batch(pipe, jobs, out, on_bad_line=tell, progress=log == "bar", **chosen)
    typer.echo(f"{plan.images} images in {plan.batches} batches; {_others(plan)}")
    if plan.leftovers:
        typer.echo(f"{_images(plan.leftovers)} that no line asks for would be put aside in {out / '.linea/leftovers'}")
    if plan.bad_lines or plan.failed:
        sys.exit(1)


def _print_summary(summary: BatchSummary, out: Path, grid: Path | None) -> None:
    speed = f", {summary.done / summary.seconds:.2f} a second" if summary.done else ""
    typer.echo(f"{summary.done} images made in {summary.seconds:.1f} s{speed}; {_others(summary)}")
    if summary.images is not None:
        typer.echo(f"{out / 'metadata.jsonl'}: {summary.images} images")
    if summary.failures:
        typer.echo(f"{out / 'failures.jsonl'}: {summary.failures} failures, each with its line and reason")
    if summary.pruned:
        typer.echo(f"{_images(summary.pruned)} that no line asks for removed")
    elif summary.leftovers:
        typer.echo(
            f"{_images(summary.leftovers)} that no line asks for put aside in {out / '.linea/leftovers'}, named in "
            f"{out / '.linea/leftovers.jsonl'}; --prune removes them"
        )
    if summary.damaged:
        typer.echo(f"{out / '.linea'}: {summary.damaged} lines or files that no batch wrote, passed over")
    if grid is not None:
        typer.echo(f"look at {grid}")


def _others(counts: BatchPlan | BatchSummary) -> str:
    return (
        f"{counts.skipped} there already, {counts.duplicates} asked for more than once, {counts.failed} failed, "
        f"{counts.bad_lines} bad lines"
    )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _silence_loading() -> None:
    """No bars of the libraries that load models between the lines of a log."""
    import diffusers.utils.logging
    import transformers.utils.logging

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def _print_json(event: dict[str, Any]) -> None:
    """A line for each event but those that only pass something over, which the end counts."""
    from datetime import UTC, datetime

    if event["event"] not in ("skipped", "duplicate", "failed_before"):
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)


def _defaults(strengths: str | None, settings: list[str], given: dict[str, Any]) -> dict[str, Any]:
    from ..batch.jobs.expanding import parse_strengths

    defaults = {name: value for name, value in given.items() if value is not None}
    if strengths is not None:
        defaults["strength"] = parse_strengths(strengths)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise LineaError(f"got --set {setting}: expected FIELD=VALUE such as --set steering_end=0.8")
        defaults[name] = literal(text)
    return defaults
