"""The command that makes many images: batch."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..batch.jobs.field_names import FIELDS
from ..errors import LineaError
from ..training.state.stopping import STOP, Stopped
from .options import checks
from .options.batch_log import print_event, print_plan, print_summary
from .options.next_steps import quoted, say_next
from .options.sessions import (
    Clip,
    ClipWeights,
    Guidance,
    Machine,
    Scoring,
    Steps,
    key_values,
    literal,
    without_none,
)
from .options.steering import Steered, strength_option
from .options.waiting import duration

_WIDTH = max(map(len, FIELDS)) + 2
FIELDS_HELP = "\n".join(
    [
        "Fields of a job, which are keys of a line of JSON and columns of a CSV file:",
        *(f"{name:{_WIDTH}}{meaning}" for name, meaning in FIELDS.items()),
        "Arguments of the base pipeline are fields, too. Other columns, and all that",
        "are called meta.NAME, go into metadata.jsonl.",
    ]
)
"""The fields of a job, for help."""


@dataclass(frozen=True)
class JobDefaults:
    """Fields for what jobs leave out."""

    strengths: Annotated[str | None, strength_option("For jobs without one")] = None
    seed: Annotated[int, typer.Option(help="For jobs without one.")] = 0
    images: Annotated[int, typer.Option(help="Images of each job, with seeds counted upwards.")] = 1
    negative_prompt: Annotated[str | None, typer.Option(help="For jobs without one.")] = None
    steps: Steps = None
    guidance: Guidance = None
    size: Annotated[str | None, typer.Option(help="Pixels: 512, or width and height such as 768x512.")] = None
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE: any other field of jobs; may be repeated.")
    ] = None

    def fields(self, steered: Steered) -> dict[str, Any]:
        """Field of a job -> its value, checked."""
        from ..batch.jobs.defaults import check_defaults

        names = ("seed", "images", "negative_prompt", "steps", "guidance", "size")
        made = without_none(**steered.dial, **{name: getattr(self, name) for name in names})
        if self.strengths is not None:
            made["strength"] = steered.dials(self.strengths)
        form = "FIELD=VALUE such as --set steering_end=0.8"
        made |= {name: literal(text) for name, text in key_values("--set", self.settings or (), form=form)}
        check_defaults(made)
        return made


def batch(
    jobs: Annotated[
        Path,
        typer.Argument(help="A .jsonl file (a job each line), .csv (a column each field), .txt (a prompt each line)."),
    ],
    *,
    out: Annotated[
        Path, typer.Option(help="Folder for images/, metadata.jsonl and failures.jsonl.", metavar="FOLDER")
    ] = Path("batch"),
    steered: Steered,
    defaults: JobDefaults,
    batch_size: Annotated[str, typer.Option(help="Images at once, or auto: what fits.")] = "auto",
    window: Annotated[int, typer.Option(help="How many jobs may wait for others of the same shape.")] = 1024,
    image_format: Annotated[
        str, typer.Option("--format", help="png, jpg or webp.", callback=checks.one_of("png", "jpg", "webp"))
    ] = "png",
    score: Annotated[bool, typer.Option("--score", help="Add CLIP figures to every line of metadata.jsonl.")] = False,
    clip: Clip = None,
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
        str,
        typer.Option(
            "--log",
            "--log-format",
            help="bar, json (a line for each event, on standard error) or none.",
            callback=checks.one_of("bar", "json", "none"),
        ),
    ] = "bar",
    machine: Machine,
) -> None:
    """Render the jobs of a file into an image folder. Stopped or killed, the same command goes on where it was."""
    _check(jobs, out, grid)
    settings: dict[str, Any] = {
        "defaults": defaults.fields(steered), "batch_size": int(batch_size) if batch_size.isdecimal() else batch_size,
        "window": window, "image_format": image_format, "strict": strict, "retry_failed": retry_failed,
    }  # fmt: skip
    machine = replace(machine, device=_process_device(out, machine.device, dry_run))
    scorer = Scoring(clip, clip_weights).scorer(machine.device, steered.base()) if score else None
    pipe = steered.open(machine)
    settings["scorer"] = scorer
    pipe.set_progress_bar_config(disable=True)
    if dry_run:
        _plan(pipe, jobs, out, settings, log)
    else:
        _run(pipe, jobs, out, {**settings, "prune": prune}, log, grid)


def _check(jobs: Path, out: Path, grid: Path | None) -> None:
    """What can be refused before anything is loaded."""
    from ..batch.jobs.reading import read_jobs
    from ..scoring.images.opening import check_image_name

    read_jobs(jobs)
    if grid is None:
        return
    check_image_name(grid)
    if (out / "images").resolve() in grid.resolve().parents:
        raise LineaError(
            f"got --grid {grid}, among the images of the data set: expected a place outside {out / 'images'}"
        )


def _process_device(out: Path, device: str, dry_run: bool) -> str:
    """The GPU of this process when several share a machine; its share of the work is taken before models are loaded."""
    from ..batch.folder.layout import Layout
    from ..batch.folder.locks import take_share
    from ..batch.folder.shares import process_share
    from ..pipelines.choices.devices import fitting_device

    share = process_share()
    if not dry_run:
        take_share(Layout(out), share)
    if share.world == 1 or device not in ("auto", "cuda") or fitting_device() != "cuda":
        return device
    return f"cuda:{os.environ.get('LOCAL_RANK', share.rank)}"


def _run(pipe: Any, jobs: Path, out: Path, settings: dict[str, Any], log: str, grid: Path | None) -> None:
    from ..batch.contact_sheet import write_sheet
    from ..batch.engine import generate_batch
    from ..batch.folder.shares import process_share

    listener = print_event if log == "json" else None
    STOP.gentle = True
    summary = generate_batch(pipe, jobs, out, stop=STOP, progress=log == "bar", on_event=listener, **settings)
    if grid is not None and summary.images:
        write_sheet(out, grid)
    alone = process_share().world == 1
    print_summary(summary, out, grid if summary.images else None, prune=settings["prune"])
    if summary.images:
        say_next(
            load=f"datasets.load_dataset('imagefolder', data_dir={str(out)!r})",
            score=f"linea score {quoted(out)} --out {quoted(out)}-scores.csv",
        )
    if summary.stopped:
        raise Stopped("stopped; the same command goes on")
    failed = summary.failed + summary.bad_lines if alone else summary.failures
    if failed:  # of several processes the last one tells, because launchers end all others when one has failed
        sys.exit(1)


def _time(pipe: Any, images: int, defaults: dict[str, Any]) -> str:
    """How long so many images take, as one step measures it now, with the settings that jobs share."""
    from ..training.effort import picture_effort, seconds_of_pass

    names = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
    arguments = {names[name]: value for name, value in defaults.items() if name in names}
    passes = picture_effort(pipe, "images", images, arguments).passes
    return duration(passes * seconds_of_pass(pipe, arguments))


def _plan(pipe: Any, jobs: Path, out: Path, settings: dict[str, Any], log: str) -> None:
    from ..batch.engine import plan_batch

    plan = plan_batch(pipe, jobs, out, progress=log == "bar", **settings)
    print_plan(plan, out)
    if plan.images:
        typer.echo(f"about {_time(pipe, plan.images, settings['defaults'])} for them here")
    if plan.bad_lines or plan.failed:
        sys.exit(1)
