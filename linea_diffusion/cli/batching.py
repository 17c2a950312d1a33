"""The command that makes many images: batch."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..batch.jobs.field_names import FIELDS
from ..errors import LineaError
from ..training.state.stopping import STOP, Stopped
from .options import checks
from .options.batch_log import print_event, print_plan, print_summary
from .options.machines import dtype_of
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

if TYPE_CHECKING:
    from ..batch.cluster import RayCluster

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

    templates: Annotated[
        bool, typer.Option("--templates", help="Prompts are templates of dynamicprompts: {a|b}, {2$$a|b|c}, __NAME__.")
    ] = False
    wildcards: Annotated[
        Path | None, typer.Option(help="Folder of text files with a value of __NAME__ each line; means --templates.")
    ] = None

    @property
    def texts(self) -> bool | Path:
        """How prompts are read."""
        return self.templates if self.wildcards is None else self.wildcards

    def fields(self, steered: Steered) -> dict[str, Any]:
        """Field of a job -> its value, checked."""
        from ..batch.jobs.fields import check_defaults

        names = ("seed", "images", "negative_prompt", "steps", "guidance", "size")
        made = without_none(**steered.dial, **{name: getattr(self, name) for name in names})
        if self.strengths is not None:
            made["strength"] = steered.dials(self.strengths)
        form = "FIELD=VALUE such as --set steering_end=0.8"
        made |= {name: literal(text) for name, text in key_values("--set", self.settings or (), form=form)}
        check_defaults(made)
        return made


@dataclass(frozen=True)
class Many:
    """More than one process: Ray, or parts that nobody coordinates."""

    ray: Annotated[
        str | None,
        typer.Option(
            help="Paint on Ray: auto (a cluster that runs here, or else Ray on this machine), local, or an address. "
            "--out may be a URL such as s3://bucket/images.",
            metavar="ADDRESS",
        ),
    ] = None
    actors: Annotated[int | None, typer.Option(help="Of Ray, at most; when left out: as many as fit.", min=1)] = None
    cpus: Annotated[float, typer.Option(help="Of each actor.", min=0.1)] = 1.0
    gpus: Annotated[
        float | None,
        typer.Option(help="Of each actor; when left out: 1, or 0 with --device cpu or no GPU here.", min=0),
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(help="I/N: only the part I of N of all jobs, in a folder of its own, OUT/shard-I-of-N."),
    ] = None
    join: Annotated[bool, typer.Option("--join", help="Make one folder of all shards in OUT; takes no jobs.")] = False

    def __post_init__(self) -> None:
        """What cannot be together is refused before anything is loaded."""
        if self.shard is not None:
            from ..batch.planning import Shard

            Shard.parse(self.shard)
            if self.ray is not None:
                raise LineaError("got --shard and --ray: expected one of them, Ray deals jobs out itself")

    def settled(self, machine: Machine, model: str) -> Machine:
        """The machine of actors, with the device and the dtype that fit there."""
        from ..pipelines.choices.devices import fitting_device
        from ..shapeland import MODELS

        device, here = machine.device.partition(":")[0], fitting_device()
        if device == "auto":
            device = here if self.gpus is None else "cuda" if self.gpus else "cpu"
        if device == "cuda" != here and machine.dtype == "auto" and model not in MODELS:
            raise LineaError(
                "got --ray with GPUs and none here: expected --dtype with what they compute in, such as bfloat16"
            )
        dtype = str(dtype_of(machine.dtype, device, model)).removeprefix("torch.")
        return replace(machine, device=device, dtype=dtype)

    def cluster(self, steered: Steered, machine: Machine) -> RayCluster | None:
        """The cluster of --ray, whose actors open the pipeline on their machine."""
        if self.ray is None:
            return None
        from ..batch.cluster import RayCluster

        gpus = float(machine.device.startswith("cuda")) if self.gpus is None else self.gpus
        return RayCluster(partial(steered.open, machine), self.ray, self.actors, self.cpus, gpus)


def batch(
    jobs: Annotated[
        Path | None,
        typer.Argument(help="A .jsonl file (a job each line), .csv (a column each field), .txt (a prompt each line)."),
    ] = None,
    *,
    out: Annotated[
        str, typer.Option(help="Folder for images/, metadata.jsonl and failures.jsonl.", metavar="FOLDER")
    ] = "batch",
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count images and batches, and say for about how long.")
    ] = False,
    log: Annotated[
        str,
        typer.Option(
            "--log",
            "--log-format",
            help="bar, json (a line for each event, on standard error) or none.",
            callback=checks.one_of("bar", "json", "none"),
        ),
    ] = "bar",
    many: Many,
    machine: Machine,
) -> None:
    """Render the jobs of a file into an image folder. Stopped or killed, the same command goes on where it was."""
    if many.join:
        _join(jobs, out)
        return
    jobs, device = _check(jobs, out, grid), machine.device
    if many.ray is not None:  # actors have the GPUs; jobs are named with the same numbers on the CPU
        machine = many.settled(machine, steered.base())
        device = "cpu"
    settings: dict[str, Any] = {
        "defaults": defaults.fields(steered), "batch_size": int(batch_size) if batch_size.isdecimal() else batch_size,
        "window": window, "image_format": image_format, "strict": strict, "retry_failed": retry_failed,
        "shard": many.shard, "templates": defaults.texts,
    }  # fmt: skip
    if not dry_run:  # a second process is refused before it loads models
        _take(out, many.shard)
    scorer = Scoring(clip, clip_weights).scorer(device, steered.base()) if score else None
    pipe = steered.open(replace(machine, device=device))
    settings["scorer"] = scorer
    pipe.set_progress_bar_config(disable=True)
    if dry_run:
        _plan(pipe, jobs, out, settings, log)
    else:
        cluster = many.cluster(steered, machine)
        _run(pipe, jobs, out, {**settings, "prune": prune, "cluster": cluster}, log, grid)


def _check(jobs: Path | None, out: str, grid: Path | None) -> Path:
    """What can be refused before anything is loaded."""
    from ..batch.jobs.reading import read_jobs
    from ..scoring.images.opening import check_image_name

    if jobs is None:
        raise LineaError("got no jobs: expected a file such as jobs.jsonl")
    read_jobs(jobs)
    if grid is not None:
        check_image_name(grid)
        if (Path(out) / "images").resolve() in grid.resolve().parents:
            raise LineaError(
                f"got --grid {grid}, among the images of the data set: expected a place outside {Path(out) / 'images'}"
            )
    return jobs


def _take(out: str, shard: str | None) -> None:
    from ..batch.folder.locks import take
    from ..batch.planning import Shard

    take(Shard.parse(shard).folder(out))


def _join(jobs: Path | None, out: str) -> None:
    from ..batch.joining import join_shards

    if jobs is not None:
        raise LineaError(f"got --join and {str(jobs)!r}: expected no jobs, --join reads none")
    joined = join_shards(out)
    typer.echo(f"{Path(out) / 'metadata.jsonl'}: {joined.images} images; {joined.failures} failures")


def _run(pipe: Any, jobs: Path, out: str, settings: dict[str, Any], log: str, grid: Path | None) -> None:
    from ..batch.contact_sheet import write_sheet
    from ..batch.engine import generate_batch
    from ..batch.planning import Shard

    listener = print_event if log == "json" else None
    STOP.gentle = settings["cluster"] is None  # Ray is not asked in between: what is painted is found again
    summary = generate_batch(pipe, jobs, out, stop=STOP, progress=log == "bar", on_event=listener, **settings)
    place = Shard.parse(settings["shard"]).folder(out).name
    if grid is not None and summary.images:
        write_sheet(place, grid)
    print_summary(summary, place, grid if summary.images else None, prune=settings["prune"])
    if summary.images:
        say_next(
            load=f"datasets.load_dataset('imagefolder', data_dir={place!r})",
            score=f"linea score {quoted(place)} --out {quoted(place)}-scores.csv",
        )
    if summary.stopped:
        raise Stopped("stopped; the same command goes on")
    if summary.failed + summary.bad_lines:
        sys.exit(1)


def _time(pipe: Any, images: int, defaults: dict[str, Any]) -> str:
    """How long so many images take, as one step measures it now, with the settings that jobs share."""
    from ..training.effort import picture_effort, seconds_of_pass

    names = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
    arguments = {names[name]: value for name, value in defaults.items() if name in names}
    passes = picture_effort(pipe, "images", images, arguments).passes
    return duration(passes * seconds_of_pass(pipe, arguments))


def _plan(pipe: Any, jobs: Path, out: str, settings: dict[str, Any], log: str) -> None:
    from ..batch.engine import plan_batch

    plan = plan_batch(pipe, jobs, out, progress=log == "bar", **settings)
    print_plan(plan, out)
    if plan.images:
        typer.echo(f"about {_time(pipe, plan.images, settings['defaults'])} for them here")
    if plan.bad_lines or plan.failed:
        sys.exit(1)
