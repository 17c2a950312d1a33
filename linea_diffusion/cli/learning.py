"""Commands that learn: demo, train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Device, Dtype, Guidance, Model, Seed, Steps, open_concept, open_pipeline
from .pictures import print_scores


def demo(
    style: Annotated[
        str, typer.Option(help="A concept of `linea concepts`, or a .toml, .jsonl or .csv file.")
    ] = "neon",
    out: Annotated[Path, typer.Option(help="Folder for grid.png, scores.csv and maps/.")] = Path("demo"),
    seed: Seed = 0,
    model: Annotated[str, typer.Option(help="An embedded model.")] = "shapeland-unet",
) -> None:
    """Learn one style on the embedded model and render a scored grid. Nothing is downloaded."""
    from ..demo import run_demo

    print_scores(run_demo(style, out, seed=seed, model=model))
    typer.echo(f"\nlook at {out / 'grid.png'}; scores in {out / 'scores.csv'}, maps in {out / 'maps'}")


def train(
    concept: Annotated[
        str, typer.Argument(help="A concept of `linea concepts`, a .toml, .jsonl or .csv file, or a name for --source.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the maps.")],
    model: Model = "shapeland-unet",
    source: Annotated[Path | None, typer.Option(help="Text file with one source prompt per line.")] = None,
    target: Annotated[Path | None, typer.Option(help="Text file with one target prompt per line.")] = None,
    modules: Annotated[list[str] | None, typer.Option(help="Preset or pattern; may be repeated.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Source prompts per iteration; all when left out.")] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Learn the steering maps of a concept from source and target prompts."""
    from ..storage import make_folder
    from ..training import TrainingConfig, train_steering_maps

    learned = open_concept(concept, source, target)
    make_folder(out)
    given: dict[str, Any] = {
        "iterations": iterations,
        "lr": lr,
        "batch_size": batch_size,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "target_modules": tuple(modules) if modules else None,
    }
    config = TrainingConfig(seed=seed, **{key: value for key, value in given.items() if value is not None})
    maps = train_steering_maps(open_pipeline(model, device, dtype), learned, config)
    maps.save_pretrained(out)
    losses, turns = maps.metadata["losses"], len(config.strengths)
    first, last = (sum(part) / len(part) for part in (losses[:turns], losses[-turns:]))
    typer.echo(f"loss {first:.4f} -> {last:.4f} (mean over the strengths); {len(maps.maps)} maps in {out}")
