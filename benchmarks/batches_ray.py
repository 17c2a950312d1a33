"""Batches on Ray: how memory grows with jobs, what Ray costs, how many actors are worth it, and a hundred kills.

    python -m benchmarks batches_ray million --lines 300000
    python -m benchmarks batches_ray speed --images 128 --rounds 3
    python -m benchmarks batches_ray kills --kills 100

`million` and `kills` paint nothing (a flat picture for each job), so that what is measured is reading, naming,
planning, Ray's stream, writing files and lines. `speed` draws with the embedded U-Net; all ways take turns.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import random
import resource
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from linea_diffusion.batch.worker import Task

# what actors import of this file must be light: `kills` starts a hundred of them
COLUMNS = (
    "file_name", "prompt", "negative_prompt", "seed", "steering", "strength", "steering_sha256", "steps", "guidance",
    "width", "height", "arguments", "model", "nsfw", "line", "part",
)  # fmt: skip


@dataclass(frozen=True)
class Null:
    """Paints a flat picture of each job, and may die of it once.

    Attributes:
        marks: a folder for the deaths that were.
        share: of the jobs that an actor dies of, one of so many; 0 for none.
        most: deaths.
    """

    marks: str = ""
    share: int = 0
    most: int = 0

    def __call__(self) -> Null:
        return self

    def paint(self, tasks: Sequence[Task]) -> Iterator[tuple[dict[str, Any], bytes]]:
        for task in tasks:
            self._perhaps_die(task, "before")
            yield self.describe(task, b""), _picture(task.digest[:2])
            self._perhaps_die(task, "after")

    def describe(self, task: Task, data: bytes) -> dict[str, Any]:
        row = dict.fromkeys(COLUMNS) | {"file_name": task.file_name, "steering": [], "strength": []}
        return row | {
            "prompt": task.fields["prompt"],
            "seed": task.fields["seed"],
            "line": task.line,
            "part": task.part,
        }

    def _perhaps_die(self, task: Task, when: str) -> None:
        place = int(task.digest[:8], 16)
        if not self.share or place % self.share or ("before", "after")[place // self.share % 2] != when:
            return
        number = len(os.listdir(self.marks))
        if number < self.most:
            try:
                os.close(os.open(f"{self.marks}/{task.digest}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


@functools.cache
def _picture(shade: str) -> bytes:
    Image.new("RGB", (8, 8), f"#{shade * 3}").save(file := io.BytesIO(), "PNG")
    return file.getvalue()


class Memory:
    """The most that this process and all that it started have had resident, looked at twice a second, in MiB."""

    def __init__(self) -> None:
        self.own, self.all, self._end = 0.0, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._end.wait(0.5):
            own = me.memory_info().rss / 2**20
            others = 0.0
            for one in me.children(recursive=True):
                try:
                    others += (one.memory_info().rss - one.memory_info().shared) / 2**20
                except psutil.Error:
                    continue
            self.own, self.all = max(self.own, own), max(self.all, own + others)

    def stop(self) -> None:
        self._end.set()
        self._thread.join()


def start_ray(cpus: int) -> None:
    import ray

    ray.init(
        address="local", num_cpus=cpus, object_store_memory=200 * 2**20, include_dashboard=False, log_to_driver=False,
        logging_level="error", ignore_reinit_error=True,
    )  # fmt: skip


def million(count: int, folder: Path) -> None:
    from linea_diffusion import RayCluster, generate_batch

    from .batch_soak import DEFAULTS, tiny_pipe, write_lines
    from .workbench import made

    pipe, jobs = tiny_pipe(), folder / "jobs.jsonl"
    write_lines(jobs, count)
    start_ray(2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    memory, began = Memory(), time.perf_counter()
    events: dict[str, float] = {}
    summary = generate_batch(
        pipe, jobs, folder / "out", defaults=DEFAULTS, batch_size=16, progress=False,
        cluster=RayCluster(Null()), on_event=lambda event: events.setdefault(event["event"], time.perf_counter()),
    )  # fmt: skip
    memory.stop()
    lines = sum(1 for _ in (folder / "out" / "metadata.jsonl").open("rb"))
    print(
        f"{made()}: {count} lines, {summary.done} images in {time.perf_counter() - began:.0f} s, {lines} lines of "
        f"metadata; planned and painted in {events['image'] - began:.0f} s; peak resident of this process "
        f"{memory.own:.0f} MiB ({before:.0f} before), with all of Ray {memory.all:.0f} MiB"
    )


def kills(count: int, folder: Path) -> None:
    from linea_diffusion import RayCluster, generate_batch

    from .batch_soak import DEFAULTS, tiny_pipe, write_lines
    from .workbench import made

    pipe, jobs = tiny_pipe(), folder / "jobs.jsonl"
    write_lines(jobs, 20 * count)
    start_ray(2)
    (folder / "marks").mkdir()
    ways = {"whole": Null(), "killed": Null(str(folder / "marks"), 10, count)}
    for name, null in ways.items():
        began = time.perf_counter()
        summary = generate_batch(
            pipe, jobs, folder / name, defaults=DEFAULTS, batch_size=4, progress=False, cluster=RayCluster(null)
        )
        print(f"{name}: {summary.done} images, {summary.failed} failed, {time.perf_counter() - began:.0f} s")
    same = (folder / "whole/metadata.jsonl").read_bytes() == (folder / "killed/metadata.jsonl").read_bytes()
    files = [{path.name for path in (folder / name / "images").rglob("*.*")} for name in ways]
    print(
        f"{made()}: {len(os.listdir(folder / 'marks'))} kills; metadata byte for byte the same: {same}; "
        f"the same files: {files[0] == files[1]}"
    )


def speed(images: int, rounds: int, folder: Path) -> None:
    """One process, two threads, and one and two actors: images a second of the painting alone, in turns."""
    from linea_diffusion import LinEASDiffusionPipeline

    from .workbench import made

    load = functools.partial(LinEASDiffusionPipeline.from_pretrained, "shapeland-unet")
    pipe = load()
    pipe.set_progress_bar_config(disable=True)
    start_ray(2)
    times: dict[str, list[float]] = {}
    dice = random.Random(0)
    ways = ["one process", "two threads", "one actor", "two actors"]
    for number in range(rounds):
        for way in dice.sample(ways, len(ways)):
            out = folder / f"{number}-{way.replace(' ', '-')}"
            times.setdefault(way, []).append(images / _seconds(way, pipe, load, images, out))
            shutil.rmtree(out)
    print(made())
    for way in ways:
        rates = times[way]
        ratios = [rate / base for rate, base in zip(rates, times["one process"], strict=True)]
        print(
            f"| {way} | {statistics.median(rates):.2f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) |"
        )


def _seconds(way: str, pipe: Any, load: Any, images: int, out: Path) -> float:
    """Of painting, from the first to the last image file, times n / (n - a batch), so that opening does not count."""
    from linea_diffusion import RayCluster, generate_batch

    batch = 4
    jobs = [{"prompt": "a red heart", "seed": seed, "steps": 8} for seed in range(images)]
    settings = {"batch_size": batch, "progress": False}
    if way == "two threads":
        import copy

        import torch

        from linea_diffusion import LinEASDiffusionPipeline

        own = {
            name: copy.deepcopy(one) for name, one in pipe.components.items() if not isinstance(one, torch.nn.Module)
        }
        other = LinEASDiffusionPipeline.from_pipe(pipe, **own)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda one: generate_batch(one[0], jobs[one[1] :: 2], out / str(one[1]), **settings),
                             [(pipe, 0), (other, 1)]))  # fmt: skip
    else:
        actors = {"one process": None, "one actor": 1, "two actors": 2}[way]
        generate_batch(pipe, jobs, out, cluster=actors and RayCluster(load, actors=actors), **settings)
    stamps = sorted(path.stat().st_mtime for path in out.rglob("*.png"))
    skipped = batch * (2 if way.startswith("two") else 1)
    return (stamps[-1] - stamps[skipped - 1]) * images / (images - skipped)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["million", "kills", "speed"])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)


def main(options: argparse.Namespace) -> None:
    folder = Path(tempfile.mkdtemp(prefix="linea-ray-"))
    try:
        if options.what == "million":
            million(options.lines, folder)
        elif options.what == "kills":
            kills(options.kills, folder)
        else:
            speed(options.images, options.rounds, folder)
    finally:
        shutil.rmtree(folder)
