"""How long does it take until something is to be seen: the import, the help, a list.

    python -m benchmarks start

runs each in a process of its own, several times in turns, and takes the least: of processor time, which other programs
hardly change, and of time by the clock. An empty Python is taken off neither.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from .workbench import RESULTS, table, write

LINEA = ("-m", "linea_diffusion.cli")
JOBS: dict[str, tuple[str, ...]] = {
    "an empty Python": ("-c", ""),
    "import linea_diffusion": ("-c", "import linea_diffusion"),
    "linea --help": (*LINEA, "--help"),
    "linea train --help": (*LINEA, "train", "--help"),
    "linea concepts": (*LINEA, "concepts"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)


def main(options: argparse.Namespace) -> None:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in JOBS}
    for _ in range(options.rounds):
        for name, arguments in JOBS.items():
            times[name].append(_seconds(arguments))
    rows = [(name, *(f"{min(column):.2f}" for column in zip(*runs, strict=True))) for name, runs in times.items()]
    about = f"the least of {options.rounds} runs, seconds."
    write(RESULTS / "start.md", "How long until something is seen", about, table(("what", "processor", "clock"), rows))


def _seconds(arguments: Sequence[str]) -> tuple[float, float]:
    before, began = os.times(), time.monotonic()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after, clock = os.times(), time.monotonic() - began
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, clock
