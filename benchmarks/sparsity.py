"""How much of a style is kept with few numbers: pruning during training against proximal steps.

    python -m benchmarks sparsity train --styles neon watercolor      # maps under runs/sparsity, one at a time
    python -m benchmarks sparsity table                               # judges them, writes results/sparsity.{csv,md}
    python -m benchmarks sparsity draw                                # docs/sparsity.png anew from the table

Maps that are there already are not trained again, so that several runs can share the work.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from linea_diffusion import SteeringMaps, load_concept, recipe_for, train_steering_maps
from linea_diffusion.grids.report.plots import Sparsities, support_effect_plot
from linea_diffusion.training.state.optimizer import MapOptimizer

from .measured import dial_of
from .workbench import DOCS, FIRST, add_shared, opened, results_of, table, write

STYLES = ("neon", "watercolor", "blueprint", "mosaic", "pencil sketch", "pixel art", "halftone")
RECIPES = {
    "dense": {"sparsity": 0.0},
    **{f"pruned to {share:g}": {"sparsity": 1 - share} for share in (0.1, 0.03, 0.01, 0.003)},
    **{f"l1 {gamma:g}": {"sparsity": 0.0, "l1": gamma} for gamma in (3e-5, 1e-4, 3e-4, 1e-3)},
    **{f"plain l1 {gamma:g}": {"sparsity": 0.0, "l1": gamma} for gamma in (0.3, 0.6, 0.8)},
}
FIELDS = ("style", "recipe", "seed", "support", "strength", "style_probability", "amount", "object", "colour")


def train(model: str, styles: list[str], recipes: list[str], seed: int, work: Path) -> None:
    pipe = opened(model)
    adams_own_metric = MapOptimizer._metric
    for recipe in recipes:
        MapOptimizer._metric = _plain_metric if recipe.startswith("plain") else adams_own_metric  # type: ignore[method-assign]
        for style in styles:
            folder = _folder(work, style, recipe, seed)
            if not folder.exists():
                maps = train_steering_maps(pipe, load_concept(style), recipe_for(pipe, seed=seed, **RECIPES[recipe]))
                maps.save_pretrained(folder)
                print(f"{folder}: support {maps.support:.4f}, loss {maps.metadata['losses'][-1]:.4f}", flush=True)


def _plain_metric(self: MapOptimizer, parameter: torch.nn.Parameter, lr: float) -> torch.Tensor:
    """The metric of a plain gradient step, as if Adam took one: every number shrinks by lr * gamma."""
    return torch.full_like(parameter, 1 / max(lr, torch.finfo(torch.float32).tiny))


def judge(model: str, work: Path) -> None:
    """Judge every set of maps that has no row yet, and write the table."""
    pipe = opened(model)
    path = results_of(model, "sparsity.csv")
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    known = {(row["style"], row["recipe"], row["seed"]) for row in rows}
    for folder in sorted(work.glob("*/*/*/config.json")):
        style, recipe, seed = folder.parent.parts[-3:]
        if (style, recipe, seed) in known:
            continue
        dial = dial_of(pipe, style, SteeringMaps.from_pretrained(folder.parent), prompts=64, seeds=(1000,))
        for row in dial.rows:
            figures = (row.strength, row.style_probability, row.amount, row.object_accuracy, row.color_accuracy)
            rows.append(dict(zip(FIELDS, (style, recipe, seed, f"{dial.maps.support:.5f}", *figures), strict=True)))
        print(style, recipe, [f"{amount:.2f}" for amount in dial.amounts], flush=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
    _write(model, rows)
    _draw(rows, results_of(model, "sparsity.png", DOCS))


def draw(model: str) -> None:
    """The figure alone, from the table that is there."""
    with results_of(model, "sparsity.csv").open() as file:
        _draw(list(csv.DictReader(file)), results_of(model, "sparsity.png", DOCS))


def _effects(rows: list[dict[str, str]]) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], float]]:
    """(recipe, style) -> P(style) gained from strength 0 to 1, against the dense maps' gain; and -> support."""
    gained: dict[tuple[str, str], float] = {}
    support: dict[tuple[str, str], float] = {}
    for row in rows:
        key, sign = (row["recipe"], row["style"]), {0.0: -1, 1.0: 1}.get(float(row["strength"]), 0)
        gained[key] = gained.get(key, 0.0) + sign * float(row["style_probability"])
        support[key] = float(row["support"])
    kept = {key: gain / gained["dense", key[1]] for key, gain in gained.items() if ("dense", key[1]) in gained}
    return kept, {key: support[key] for key in kept}


def _draw(rows: list[dict[str, str]], path: Path) -> None:
    """Effect kept against support: every style a dot, the mean over styles a line."""
    kept, support = _effects(rows)
    kinds = {
        "pruned": "pruning while training (ours)",
        "l1": "proximal step in Adam's metric",
        "plain l1": "proximal step, plain",
    }
    ways = []
    for kind, label in kinds.items():
        known = [r for r in RECIPES if r.startswith((kind, "dense")) and any(key[0] == r for key in kept)]
        tables = (
            np.array([[values.get((recipe, style), np.nan) for style in STYLES] for recipe in known])
            for values in (support, kept)
        )
        ways.append(Sparsities(label, *tables))
    support_effect_plot(ways, effect="effect kept (P(style) gained)").save(path)


def _write(model: str, rows: list[dict[str, str]]) -> None:
    """The table of the effect kept per style and in the mean."""
    kept, support = _effects(rows)
    styles = [style for style in STYLES if ("dense", style) in kept]
    lines = []
    for recipe in RECIPES:
        there = [style for style in styles if (recipe, style) in kept]
        if there:
            cells = (f"{kept[recipe, s]:.2f}" if s in there else "-" for s in styles)
            means = [sum(values[recipe, s] for s in there) / len(there) for values in (support, kept)]
            lines.append((recipe, f"{means[0]:.1%}", *cells, f"{means[1]:.2f}"))
    about = (
        "64 held-out prompts at each strength, training seed 0. Each cell: P(style) gained from strength 0 to 1, "
        "divided by what the dense maps gain."
    )
    head = ("recipe", "support", *styles, "mean")
    write(results_of(model, "sparsity.md"), f"Support against effect, `{model}`", about, table(head, lines))


def _folder(work: Path, style: str, recipe: str, seed: int) -> Path:
    return work / style / recipe / str(seed)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["train", "table", "draw"])
    add_shared(parser, model=FIRST, styles=STYLES, seed=0, threads=2)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--work", type=Path, help="folder of the maps; runs/sparsity, and the model behind it")


def main(options: argparse.Namespace) -> None:
    work = options.work or results_of(options.model, "sparsity", Path("runs"))
    if options.what == "train":
        train(options.model, options.styles, options.recipes, options.seed, work)
    elif options.what == "table":
        judge(options.model, work)
    else:
        draw(options.model)
