"""The command that measures what steering costs: bench."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import LineaError, make_folder
from ..options.machines import RANDOM_HELP, Machine, device_of, dtype_of
from ..options.sessions import MODEL_HELP, Call, Seeded
from ..options.steering import Steering, open_maps

if TYPE_CHECKING:
    from ...pipelines.pipeline import LinEASDiffusionPipeline
    from .bench import Bench, Row


@dataclass(frozen=True)
class BenchMachine(Machine):
    """A machine that also runs models of random weights, which are made where they are used."""

    def pipeline(self, model: str) -> LinEASDiffusionPipeline:
        """The pipeline as it comes."""
        if not is_random(model):
            return super().pipeline(model)
        import torch

        from ...pipelines.pipeline import LinEASDiffusionPipeline
        from .random_models import random_pipeline

        device = device_of(self.device)
        try:
            made = random_pipeline(model, device=device, dtype=dtype_of(self.dtype, device, model))
        except torch.OutOfMemoryError:
            raise LineaError(
                f"got {model}, which does not fit on {device!r}: expected a smaller one, or bfloat16"
            ) from None
        return LinEASDiffusionPipeline(made)


def bench(
    *,
    model: Annotated[
        str,
        typer.Option(help=f"{MODEL_HELP} {RANDOM_HELP}"),
    ] = "shapeland-unet",
    steering: Steering = [],  # noqa: B006
    modules: Annotated[
        list[str] | None,
        typer.Option(help="Modules of random maps (without --steering) and of training; may be repeated."),
    ] = None,
    what: Annotated[str, typer.Option(help="Parts with commas.")] = "generation,row,training,memory",
    batch_size: Annotated[int, typer.Option(help="Pictures at once.")] = 8,
    rounds: Annotated[int, typer.Option(help="How often each way is timed, in turns with the others.")] = 15,
    call: Call,
    height: Annotated[int | None, typer.Option(help="Pixels; the model's own default when left out.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; the model's own default when left out.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for bench.json and bench.md.")] = Path("bench"),
    seeded: Seeded,
    machine: BenchMachine,
) -> None:
    """Measure what steering costs here: time of pictures, rows of strengths and training, and peak memory."""
    import json

    from tqdm.auto import tqdm

    from .bench import BenchConfig, bench

    config = BenchConfig(
        what=tuple(what.split(",")), batch_size=batch_size, rounds=rounds, steps=call.steps, guidance=call.guidance,
        height=height, width=width, seed=seeded.seed, **({"modules": tuple(modules)} if modules else {}),
    )  # fmt: skip
    maps = open_maps(steering, model)
    pipe = machine.load(model)
    for name, (_, one) in maps.items():
        pipe.load_steering(one, adapter_name=name)
    make_folder(out)
    result = bench(pipe, config, track=lambda numbers: tqdm(numbers, desc="rounds", leave=False))
    dtype = str(pipe.dtype).removeprefix("torch.")
    text = markdown(result, model, dtype)
    facts = {"model": model, "dtype": dtype, **asdict(result)}
    (out / "bench.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (out / "bench.md").write_text(text, encoding="utf-8")
    typer.echo(text)
    typer.echo(f"every time measured is in {out / 'bench.json'}")


def markdown(result: Bench, model: str, dtype: str) -> str:
    """The figures as a table, with what one must know to read them."""
    lines = [
        *_caption(result, model, dtype),
        "",
        "| job | way | seconds | time, against the job's first way | peak memory, MiB |",
        "| --- | --- | --- | --- | --- |",
        *(_line(row) for row in result.rows),
    ]
    return "\n".join(lines) + "\n"


def _caption(result: Bench, model: str, dtype: str) -> list[str]:
    config, machine = result.config, result.machine
    weights = ", random weights: speed and memory are a real model's, pictures are not" if is_random(model) else ""
    facts = ", ".join(f"{key} {value}" for key, value in machine.items() if key != "date")
    calls = "; ".join(f"{part}: {_listed(arguments)}" for part, arguments in result.calls.items())
    return [
        f"# What steering costs: {model}",
        "",
        f"{machine['date']}, {facts}. {dtype}{weights}.",
        "",
        f"Batches of {config.batch_size}. {calls}. Maps: {result.maps}; training steers {', '.join(config.modules)}. "
        f"Seed {config.seed}. Each way ran once before, then {config.rounds} rounds of all ways in turns: the median "
        "time, and the median (25% to 75%) of its ratio to the job's first way in the same round. Peak memory is what "
        "one run takes beyond what was taken before, the weights not counted (on a CPU resident memory of the process, "
        "on CUDA what tensors take).",
    ]


def _listed(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in arguments.items()) or "the pipeline's defaults"


def is_random(model: str) -> bool:
    """Whether a model is one of random weights."""
    return model.startswith("random-")


def _line(row: Row) -> str:
    memory = "-" if row.peak_mib is None else f"{row.peak_mib:.0f}"
    seconds, ratio = "-", row.note or "-"
    if row.ratio is not None:
        seconds = f"{sorted(row.seconds)[len(row.seconds) // 2]:.3f}"
        ratio = f"{row.ratio:.2f} ({row.low:.2f} to {row.high:.2f})" if row.ratio != 1 or row.low != row.high else "1"
    return f"| {row.part} | {row.name} | {seconds} | {ratio} | {memory} |"
