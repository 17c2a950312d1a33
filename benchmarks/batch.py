"""Images a second of `generate_batch` against a plain loop over ``pipe(...)`` that saves its pictures.

    python -m benchmarks batch

Both make the same jobs (prompts, seeds, strengths of a style that was just learned) and take turns in one run; each
turn has new seeds, so that nothing is there already.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from linea_diffusion import LinEASDiffusionPipeline, TrainingConfig, generate_batch, load_concept, train_steering_maps
from linea_diffusion.shapeland.captions import plain_captions

from .workbench import RESULTS, add_shared, opened, table, write

WAYS: dict[str, int | str | None] = {
    "plain loop": None,
    "generate_batch, batch size 1": 1,
    "generate_batch, batch size 4": 4,
    "generate_batch, auto": "auto",
}


def jobs_of(turn: int, count: int) -> list[dict[str, Any]]:
    prompts = plain_captions(held_out=False)
    return [{"prompt": prompts[n % len(prompts)], "seed": 1000 * turn + n, "strength": n % 5 / 4} for n in range(count)]


def plain_loop(pipe: LinEASDiffusionPipeline, jobs: list[dict[str, Any]], folder: Path) -> None:
    for number, job in enumerate(jobs):
        generator = torch.Generator().manual_seed(job["seed"])
        image = pipe(job["prompt"], strength=job["strength"], generator=generator).images[0]
        image.save(folder / f"{number}.png")


def measure(count: int, turns: int) -> dict[str, list[float]]:
    pipe = opened()
    pipe.load_steering(train_steering_maps(pipe, load_concept("neon"), TrainingConfig(iterations=3)), "neon")
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(turns + 1):
        jobs = jobs_of(turn, count)
        for way, size in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                if size is None:
                    plain_loop(pipe, jobs, Path(folder))
                else:
                    done = generate_batch(pipe, jobs, Path(folder) / "out", batch_size=size, progress=False).done
                    assert done == count
                if turn:
                    seconds[way].append(time.perf_counter() - began)
    return seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, threads=1)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--turns", type=int, default=5)


def main(options: argparse.Namespace) -> None:
    seconds, rows = measure(options.count, options.turns), []
    for way, times in seconds.items():
        ratios = [plain / own for plain, own in zip(seconds["plain loop"], times, strict=True)]
        against = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append((way, f"{options.count / statistics.median(times):.2f}", against))
    about = (
        f"`shapeland-unet` (8 steps, 64 x 64), one style, {options.count} jobs at five strengths, seeds 1000 to "
        f"{1000 * options.turns + options.count - 1}. Median of {options.turns} turns after a first that does not "
        "count; the ratio is taken within each turn. `generate_batch` syncs every file to the disk, the loop does not. "
        f"Load of the machine at the end: {os.getloadavg()[0]:.1f}."
    )
    head = ("way", "images a second", "against the plain loop (lowest to highest turn)")
    write(RESULTS / "batch.md", "Throughput of a batch", about, table(head, rows))
