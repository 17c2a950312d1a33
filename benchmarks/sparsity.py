"""How much of a style is kept with few numbers: pruning during training against proximal steps.

    python benchmarks/sparsity.py train --styles neon watercolor      # maps under runs/sparsity, one at a time
    python benchmarks/sparsity.py table                               # judges them, writes results/sparsity.{csv,md}
    python benchmarks/sparsity.py draw                                # docs/sparsity.png anew from the table

Maps that are there already are not trained again, so that several runs can share the work.
"""

from __future__ import annotations

import argparse
import csv
import platform
from datetime import date
from pathlib import Path

import numpy as np
import torch
from measured import measure_dial
from where import add_model, results_of

from linea_diffusion import LinEASDiffusionPipeline, SteeringMaps, load_concept, recipe_for, train_steering_maps
from linea_diffusion.grids.report.plots import Sparsities, support_effect_plot
from linea_diffusion.shapeland import load_truth_classifier
from linea_diffusion.training.optimizer import MapOptimizer

STYLES = ("neon", "watercolor", "blueprint", "mosaic", "pencil sketch", "pixel art", "halftone")
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
RECIPES = {
    "dense": {"sparsity": 0.0},
    **{f"pruned to {share:g}": {"sparsity": 1 - share} for share in (0.1, 0.03, 0.01, 0.003)},
    **{f"l1 {gamma:g}": {"sparsity": 0.0, "l1": gamma} for gamma in (3e-5, 1e-4, 3e-4, 1e-3)},
    **{f"plain l1 {gamma:g}": {"sparsity": 0.0, "l1": gamma} for gamma in (0.3, 0.6, 0.8)},
}
FIGURES = Path(__file__).parent.parent / "docs"
FIELDS = ("style", "recipe", "seed", "support", "strength", "style_probability", "amount", "object", "colour")


def train(model: str, styles: list[str], recipes: list[str], seed: int, work: Path) -> None:
    pipe = LinEASDiffusionPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
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


def table(model: str, work: Path) -> None:
    """Judge every set of maps that has no row yet."""
    pipe, classifier = LinEASDiffusionPipeline.from_pretrained(model), load_truth_classifier()
    pipe.set_progress_bar_config(disable=True)
    path = results_of(model, "sparsity.csv")
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    known = {(row["style"], row["recipe"], row["seed"]) for row in rows}
    for folder in sorted(work.glob("*/*/*/config.json")):
        style, recipe, seed = folder.parent.parts[-3:]
        if (style, recipe, seed) in known:
            continue
        pipe.load_steering(maps := SteeringMaps.from_pretrained(folder.parent))
        for row in measure_dial(pipe, style, STRENGTHS, classifier=classifier, prompts=64, seeds=(1000,)):
            figures = (row.strength, row.style_probability, row.amount, row.object_accuracy, row.color_accuracy)
            rows.append(dict(zip(FIELDS, (style, recipe, seed, f"{maps.support:.5f}", *figures), strict=True)))
        print(style, recipe, [f"{float(row['amount']):.2f}" for row in rows[-len(STRENGTHS) :]], flush=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
    results_of(model, "sparsity.md").write_text(_markdown(model, rows))
    _draw(rows, results_of(model, "sparsity.png", FIGURES))


def draw(model: str) -> None:
    """The figure alone, from the table that is there."""
    with results_of(model, "sparsity.csv").open() as file:
        _draw(list(csv.DictReader(file)), results_of(model, "sparsity.png", FIGURES))


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


def _markdown(model: str, rows: list[dict[str, str]]) -> str:
    """Effect kept per style and in the mean."""
    kept, support = _effects(rows)
    styles = [style for style in STYLES if ("dense", style) in kept]
    lines = [
        f"# Support against effect, `{model}`",
        "",
        f"{date.today()}, {platform.machine()}, torch {torch.__version__}; 64 held-out prompts at each strength, "
        "training seed 0. Each cell: P(style) gained from strength 0 to 1, divided by what the dense maps gain.",
        "",
        "| recipe | support | " + " | ".join(styles) + " | mean |",
        "| --- | --- |" + " --- |" * (len(styles) + 1),
    ]
    for recipe in RECIPES:
        there = [style for style in styles if (recipe, style) in kept]
        if there:
            cells = " | ".join(f"{kept[recipe, s]:.2f}" if s in there else "-" for s in styles)
            means = [sum(values[recipe, s] for s in there) / len(there) for values in (support, kept)]
            lines.append(f"| {recipe} | {means[0]:.1%} | {cells} | {means[1]:.2f} |")
    return "\n".join(lines) + "\n"


def _folder(work: Path, style: str, recipe: str, seed: int) -> Path:
    return work / style / recipe / str(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "table", "draw"])
    add_model(parser)
    parser.add_argument("--styles", nargs="+", default=list(STYLES))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder of the maps; runs/sparsity, and the model behind it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work = options.work or results_of(options.model, "sparsity", Path("runs"))
    if options.what == "train":
        train(options.model, options.styles, options.recipes, options.seed, work)
    elif options.what == "table":
        table(options.model, work)
    else:
        draw(options.model)


if __name__ == "__main__":
    main()
