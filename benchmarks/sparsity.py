"""How much of a style is kept with few numbers: pruning during training against the paper's proximal step.

    python benchmarks/sparsity.py train --styles neon watercolor      # maps under runs/sparsity, one at a time
    python benchmarks/sparsity.py table                               # judges them, writes results/sparsity.{csv,md}

Maps that are there already are not trained again, so that several runs can share the work.
"""

from __future__ import annotations

import argparse
import csv
import platform
from datetime import date
from pathlib import Path

import torch

from linea_diffusion import LinEASDiffusionPipeline, SteeringMaps, TrainingConfig, load_concept, train_steering_maps
from linea_diffusion.shapeland import load_truth_classifier
from linea_diffusion.shapeland.truth import measure_dial

STYLES = ("neon", "watercolor", "blueprint", "mosaic", "pencil sketch", "pixel art", "halftone")
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
RECIPES = {
    "dense": {"sparsity": 0.0},
    **{f"pruned to {share:g}": {"sparsity": 1 - share} for share in (0.1, 0.03, 0.01, 0.003)},
    **{f"l1 {gamma:g}": {"sparsity": 0.0, "l1": gamma} for gamma in (1e-5, 3e-5, 1e-4, 3e-4)},
}
RESULTS = Path(__file__).parent / "results"
FIELDS = ("style", "recipe", "seed", "support", "strength", "style_probability", "amount", "object", "colour")


def train(styles: list[str], recipes: list[str], seed: int, work: Path) -> None:
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet")
    pipe.set_progress_bar_config(disable=True)
    for recipe in recipes:
        for style in styles:
            folder = _folder(work, style, recipe, seed)
            if not folder.exists():
                maps = train_steering_maps(pipe, load_concept(style), TrainingConfig(seed=seed, **RECIPES[recipe]))
                maps.save_pretrained(folder)
                print(f"{folder}: support {maps.support:.4f}, loss {maps.metadata['losses'][-1]:.4f}", flush=True)


def table(work: Path) -> None:
    """Judge every set of maps that has no row yet."""
    pipe, classifier = LinEASDiffusionPipeline.from_pretrained("shapeland-unet"), load_truth_classifier()
    pipe.set_progress_bar_config(disable=True)
    path = RESULTS / "sparsity.csv"
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
    (RESULTS / "sparsity.md").write_text(_markdown(rows))


def _markdown(rows: list[dict[str, str]]) -> str:
    """Effect kept (style probability gained at strength 1, against the dense maps), per style and in the mean."""
    gained: dict[tuple[str, str], float] = {}
    supports: dict[str, list[float]] = {}
    for row in rows:
        key, sign = (row["recipe"], row["style"]), {"0.0": -1, "1.0": 1}.get(str(float(row["strength"])), 0)
        gained[key] = gained.get(key, 0.0) + sign * float(row["style_probability"])
        supports.setdefault(row["recipe"], []).append(float(row["support"]))
    styles = [style for style in STYLES if ("dense", style) in gained]
    lines = [
        "# Support against effect, `shapeland-unet`",
        "",
        f"{date.today()}, {platform.machine()}, torch {torch.__version__}; 64 held-out prompts at each strength, "
        "training seed 0. Each cell: P(style) gained from strength 0 to 1, divided by what the dense maps gain.",
        "",
        "| recipe | support | " + " | ".join(styles) + " | mean |",
        "| --- | --- |" + " --- |" * (len(styles) + 1),
    ]
    for recipe in RECIPES:
        kept = [gained[recipe, s] / gained["dense", s] if (recipe, s) in gained else None for s in styles]
        there = [value for value in kept if value is not None]
        if there:
            support = sum(supports[recipe]) / len(supports[recipe])
            cells = " | ".join("-" if value is None else f"{value:.2f}" for value in kept)
            lines.append(f"| {recipe} | {support:.1%} | {cells} | {sum(there) / len(there):.2f} |")
    return "\n".join(lines) + "\n"


def _folder(work: Path, style: str, recipe: str, seed: int) -> Path:
    return work / style / recipe / str(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "table"])
    parser.add_argument("--styles", nargs="+", default=list(STYLES))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/sparsity"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "train":
        train(options.styles, options.recipes, options.seed, options.work)
    else:
        table(options.work)


if __name__ == "__main__":
    main()
