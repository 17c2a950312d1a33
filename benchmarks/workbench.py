"""Where a benchmark's table lies: the U-Net's under its own name, another model's with the model's behind it."""

from __future__ import annotations

import argparse
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
FIRST = "shapeland-unet"


def add_model(parser: argparse.ArgumentParser) -> None:
    """The option ``--model``."""
    parser.add_argument("--model", default=FIRST, help="shapeland-unet or shapeland-dit")


def results_of(model: str, name: str, folder: Path = RESULTS) -> Path:
    """The file ``name`` of a model: ``dial.md``, ``dial_shapeland-dit.md``."""
    path = folder / name
    return path if model == FIRST else path.with_stem(f"{path.stem}_{model}")
