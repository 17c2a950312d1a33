"""What benchmarks share: options, the model that is measured, maps of its styles, and tables that say how they came."""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from linea_diffusion import LinEASDiffusionPipeline
from linea_diffusion.cli.options.sessions import literal

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
FIRST = "shapeland-unet"


def add_shared(
    parser: argparse.ArgumentParser,
    *,
    model: str | None = None,
    styles: Sequence[str] | None = None,
    seed: int | None = None,
    prompts: int | None = None,
    threads: int | None = None,
) -> None:
    """The options that benchmarks share, each with its default; those without one are left out."""
    if model is not None:
        parser.add_argument("--model", default=model, help="shapeland-unet or shapeland-dit")
    if styles is not None:
        parser.add_argument("--styles", nargs="+", default=list(styles))
    if seed is not None:
        parser.add_argument("--seed", type=int, default=seed, help="of the training")
    if prompts is not None:
        parser.add_argument("--prompts", type=int, default=prompts, help="how many held-out prompts")
    if threads is not None:
        parser.add_argument("--threads", type=int, default=threads)


def opened(model: str = FIRST) -> LinEASDiffusionPipeline:
    """A model's pipeline, without its bars."""
    pipe = LinEASDiffusionPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def settings_of(texts: Iterable[str]) -> dict[str, Any]:
    """``lr=0.01`` and its like as settings of `TrainingConfig`."""
    return {key: literal(text) for key, text in (one.split("=", 1) for one in texts)}


def results_of(model: str, name: str, folder: Path = RESULTS) -> Path:
    """The file ``name`` of a model: ``dial.md``, and ``dial_shapeland-dit.md`` of another than the first."""
    path = folder / name
    return path if model == FIRST else path.with_stem(f"{path.stem}_{model}")


def command() -> str:
    """What was typed."""
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


def line(cells: Iterable[Any]) -> str:
    """A line of a table in Markdown."""
    return "| " + " | ".join(map(str, cells)) + " |"


def table(head: Sequence[str], rows: Iterable[Iterable[Any]] = ()) -> list[str]:
    """A table in Markdown."""
    return [line(head), line(["---"] * len(head)), *map(line, rows)]


def made() -> str:
    """By which command, when and where, as the text above a table says it."""
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    return f"`{command()}`, {date.today()}, {platform.machine()}, {threads}, torch {torch.__version__}"


def write(path: Path, title: str, about: str, lines: Iterable[str]) -> None:
    """Write a table: its title, how it was made and what it shows, and its lines."""
    text = "\n".join([f"# {title}", "", f"{made()}; {about}", "", *lines]) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(path)
