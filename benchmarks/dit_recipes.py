"""Which modules, rates and iterations steer the DiT? Each recipe learns a style and is judged on held-out prompts.

    python benchmarks/dit_recipes.py --styles neon --recipes "attention lr=0.06 iterations=120" "modulation lr=0.02"

A recipe is names of modules with ``+`` between them (presets, patterns, or a name of `MODULES`), and any settings of
``TrainingConfig``. Lines are added to ``--out`` as they come, so that several runs make one table.
"""

from __future__ import annotations

import argparse
import ast
import re
import time
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from measured import DialRow, measure_dial

from linea_diffusion import LinEASDiffusionPipeline, TrainingConfig, load_concept, train_steering_maps
from linea_diffusion.shapeland import load_truth_classifier
from linea_diffusion.training.recipes import RECIPES

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LAWS = {**RECIPES["unet"]["law"], "pairing": "law", "calibrate": False}
"""What recipes change: the settings of training by laws that were the default when these were compared."""
MODULES = {
    "modulation": r"transformer\..*norm.*\.linear",
    "block-modulation": r"transformer\.transformer_blocks\..*norm.*\.linear",
    "image-modulation": r"transformer\.(.*norm1|norm_out)\.linear",
    "context-modulation": r"transformer\..*norm1_context\.linear",
    "layer-norms": r"transformer\..*norm(1|1_context|_out)\.norm|transformer\..*norm2(_context)?",
    "image-norms": r"transformer\..*norm(1|_out)\.norm|transformer\..*norm2",
    "context-norms": r"transformer\..*norm1_context\.norm|transformer\..*norm2_context",
    "context-attention": r"transformer\..*attn:1",
    "image-mlps": r"transformer\..*\.ff",
    "context-mlps": r"transformer\..*\.ff_context",
    "embedders": r"transformer\.(context_embedder|time_text_embed)",
    "context-values": r"transformer\..*add_v_proj",
    "image-values": r"transformer\..*to_v",
}


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    pipe = LinEASDiffusionPipeline.from_pretrained(options.model)
    pipe.set_progress_bar_config(disable=True)
    classifier = load_truth_classifier()
    for recipe in options.recipes:
        for style in options.styles:
            config = read_recipe(recipe, options.seed)
            began = time.monotonic()
            maps = train_steering_maps(pipe, load_concept(style), config)
            seconds = time.monotonic() - began
            if options.maps:
                maps.save_pretrained(options.maps / f"{style}-{'-'.join(re.findall('[a-z0-9.]+', recipe))}")
            pipe.load_steering(maps)
            rows = measure_dial(
                pipe, style, STRENGTHS, classifier=classifier, prompts=options.prompts, seeds=options.noises
            )
            line = _line(recipe, style, rows, seconds)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            print(line, flush=True)


def read_recipe(text: str, seed: int) -> TrainingConfig:
    """A recipe's settings."""
    modules, *settings = text.split()
    given: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        given[name] = ast.literal_eval(value)
    chosen = tuple(MODULES.get(name, name) for name in modules.split("+"))
    return TrainingConfig(**{**LAWS, "seed": seed, "target_modules": chosen, **given})


def _line(recipe: str, style: str, rows: list[DialRow], seconds: float) -> str:
    amounts = " ".join(f"{row.amount:.2f}" for row in rows)
    steps = [after.amount - before.amount for before, after in pairwise(rows)]
    largest = max(steps) / max(rows[-1].amount - rows[0].amount, 1e-9)
    objects = f"{rows[2].object_accuracy:.2f} {rows[-1].object_accuracy:.2f}"
    colors = f"{rows[2].color_accuracy:.2f} {rows[-1].color_accuracy:.2f}"
    return (
        f"| {recipe} | {style} | {rows[-1].style_probability:.2f} | {amounts} | {largest:.2f} | {objects} | "
        f"{colors} | {seconds:.0f} |"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--styles", nargs="+", default=["neon"])
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--model", default="shapeland-dit")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--noises", type=int, nargs="+", default=[1000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--maps", type=Path, help="folder to keep maps in")
    parser.add_argument("--out", type=Path, default=Path(f"runs/dit_recipes_{date.today()}.md"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
