"""Whether memory stays constant: 20,000 jobs on a tiny pipeline, and a million lines planned.

    python -m benchmarks batch_soak soak --jobs 20000
    python -m benchmarks batch_soak plan --lines 1000000

Jobs differ in prompt, seed, strength, style and steps; the pipeline is a real Stable Diffusion XL class with random
weights at its tiniest. The resident memory of the process is read every second.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from linea_diffusion import LinEASDiffusionPipeline, SteeringMaps
from linea_diffusion.batch.engine import generate_batch, plan_batch
from linea_diffusion.cli.bench.random_models import random_pipeline
from linea_diffusion.steering.activations import record_activations
from linea_diffusion.steering.presets import find_modules

from .workbench import DOCS, RESULTS, add_shared, made

WORDS = ["heart", "fish", "star", "tree", "house", "boat", "cat", "mug"]
DEFAULTS = {"size": 32, "guidance": 1.0, "steps": 1}


def tiny_pipe() -> LinEASDiffusionPipeline:
    pipe = LinEASDiffusionPipeline(random_pipeline("random-sdxl", tiny=True))
    pipe.set_progress_bar_config(disable=True)
    modules = find_modules(pipe, "attention")
    with record_activations(modules) as recorded:
        pipe("a heart", num_inference_steps=1, height=32, width=32, output_type="latent")
    for name in ("neon", "mosaic"):
        maps = SteeringMaps({module: recorded[module][0].shape[-1] for module in modules})
        with torch.no_grad():
            for parameter in maps.parameters():
                parameter.normal_(std=0.3)
        pipe.load_steering(maps.requires_grad_(False), name)
    return pipe


def lines(count: int) -> Iterator[dict[str, object]]:
    for number in range(count):
        style = ("neon", "mosaic")[number % 2]
        yield {
            "prompt": f"a {WORDS[number % 8]} of {WORDS[number // 8 % 8]}",
            "seed": number,
            "steering": style,
            "strength": number % 5 / 4,
            "steps": 1 + number % 3 // 2,
        }


def write_lines(path: Path, count: int) -> None:
    with path.open("w") as file:
        for line in lines(count):
            file.write(json.dumps(line) + "\n")


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class Watch:
    """Resident memory once a second, with how many images there were."""

    def __init__(self) -> None:
        self.images, self.rows, self._end = 0, [], threading.Event()
        self._began = time.perf_counter()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(1.0):
            self.rows.append((time.perf_counter() - self._began, self.images, resident_mib()))

    def count(self, event: dict[str, object]) -> None:
        self.images += event["event"] == "image"

    def stop(self) -> None:
        self._end.set()
        self._thread.join()


def soak(count: int, folder: Path) -> None:
    pipe, jobs = tiny_pipe(), folder / "jobs.jsonl"
    write_lines(jobs, count)
    watch = Watch()
    summary = generate_batch(pipe, jobs, folder / "out", defaults=DEFAULTS, progress=False, on_event=watch.count)
    watch.stop()
    with (RESULTS / "batch_soak.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seconds", "images", "resident_mib"])
        writer.writerows((f"{s:.1f}", images, f"{mib:.1f}") for s, images, mib in watch.rows)
    draw(watch.rows)
    began = time.perf_counter()
    again = generate_batch(pipe, jobs, folder / "out", defaults=DEFAULTS, progress=False)
    early = [mib for _, images, mib in watch.rows if images >= count // 20][:10]
    late = [mib for _, _, mib in watch.rows][-10:]
    print(
        f"{made()}: {summary.done} images in {summary.seconds:.0f} s ({summary.done / summary.seconds:.1f} a second), "
        f"{summary.failed} failed; resident after a twentieth {sum(early) / len(early):.0f} MiB, at the end "
        f"{sum(late) / len(late):.0f} MiB; run again: {again.skipped} passed over in "
        f"{time.perf_counter() - began:.1f} s"
    )


def draw(rows: list[tuple[float, int, float]]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3))
    axes.plot([images for _, images, _ in rows], [mib for _, _, mib in rows], color="#2a6fb0")
    axes.set(xlabel="images made", ylabel="resident memory, MiB", ylim=(0, 1.15 * max(mib for *_, mib in rows)))
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(DOCS / "batch_memory.png", dpi=130)


def plan(count: int, folder: Path) -> None:
    pipe, jobs = tiny_pipe(), folder / "jobs.jsonl"
    write_lines(jobs, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    planned = plan_batch(pipe, jobs, folder / "out", defaults=DEFAULTS, batch_size=16)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{made()}: {count} lines ({jobs.stat().st_size / 2**20:.0f} MiB) planned as {planned.images} images in "
        f"{planned.batches} batches, {time.perf_counter() - began:.0f} s; peak resident {after:.0f} MiB, "
        f"{after - before:.0f} MiB more than before"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["soak", "plan"])
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--lines", type=int, default=1_000_000)
    add_shared(parser, threads=1)


def main(options: argparse.Namespace) -> None:
    folder = Path(tempfile.mkdtemp(prefix="linea-soak-"))
    try:
        soak(options.jobs, folder) if options.what == "soak" else plan(options.lines, folder)
    finally:
        shutil.rmtree(folder)
