"""What an iteration costs: time against one plain generation of the same batch, and peak memory.

    python -m benchmarks cost

The ways are those of ``linea bench``: plain generation (no hooks, no gradient) and iterations take turns in one run;
the ratio is the median over turns, and memory is what one run takes beyond what was taken before.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch

from linea_diffusion import TrainingConfig
from linea_diffusion.cli.bench.bench import Row, measured
from linea_diffusion.cli.bench.ways import iteration_ways
from linea_diffusion.shapeland.captions import plain_captions
from linea_diffusion.training.recipes import RECIPES

from .workbench import RESULTS, add_shared, line, opened, table, write

LAWS = {**RECIPES["unet"]["law"], "pairing": "law", "sparsity": 0.0}
PIECES: dict[str, dict[str, Any]] = {
    "in one piece": {},
    "cut between steps": {"backprop_through_steps": False},
    "checkpointed": {"gradient_checkpointing": True},
    "in micro-batches of 16": {"micro_batch_size": 16},
    "in micro-batches of 4": {"micro_batch_size": 4},
    "in micro-batches of 1": {"micro_batch_size": 1},
    "in micro-batches of 4, checkpointed": {"micro_batch_size": 4, "gradient_checkpointing": True},
}
MANY: dict[str, dict[str, Any]] = {
    "of 256 prompts in micro-batches of 4": {"micro_batch_size": 4},
    "of 256 prompts in micro-batches of 4, checkpointed": {"micro_batch_size": 4, "gradient_checkpointing": True},
    "of 256 prompts in one piece": {"micro_batch_size": None},
}


def measure(pieces: Mapping[str, Any], turns: int, prompts: int = 32, **settings: Any) -> list[Row]:
    """A row for each way, the plain generation first where it is timed; without turns, of memory alone."""
    pipe, training = opened(), TrainingConfig(**LAWS | settings)
    ways = iteration_ways(pipe, training, plain_captions(held_out=False)[:prompts], pieces)
    return measured(ways if turns else ways[1:], torch.device("cpu"), range(turns), memory=True)[1]


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, threads=2)
    parser.add_argument("--turns", type=int, default=8)


def main(options: argparse.Namespace) -> None:
    rows = [
        *measure(PIECES, options.turns),
        *measure(MANY, 0, 256, micro_batch_size=32),
        *measure({"on attention, in one piece": {}}, options.turns, target_modules="attention"),
    ]
    cells = [_cells(row) for row in rows if row.name.startswith("iteration")]
    print(*map(line, cells), sep="\n")
    about = (
        "`shapeland-unet`, maps of the norms learned as laws, 4 denoising steps, 32 prompts unless said. Time of an "
        f"iteration against one plain generation of the same prompts: median (25% to 75%) of {options.turns} turns "
        "after a first that does not count. Peak memory beyond what was taken before."
    )
    head = ("way", "iteration / plain generation", "peak memory, MiB")
    write(RESULTS / "cost.md", "What a training iteration costs", about, table(head, cells))


def _cells(row: Row) -> tuple[str, str, str]:
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f} ({row.low:.2f} to {row.high:.2f})"
    return row.name, ratio, "-" if row.peak_mib is None else f"{row.peak_mib:.0f}"
