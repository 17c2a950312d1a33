"""Which modules, rates and iterations steer the DiT? Each recipe learns a style and is judged on held-out prompts.

    python -m benchmarks dit_recipes --styles neon --recipes "attention lr=0.06 iterations=120" "modulation lr=0.02"

A recipe is names of modules with ``+`` between them (presets, patterns, or a name of `MODULES`), and any settings of
``TrainingConfig``. Lines are added to ``--out`` as they come, so that several runs make one table.
"""

from __future__ import annotations

import argparse
import re
from datetime import date
from pathlib import Path

from linea_diffusion import TrainingConfig, load_concept
from linea_diffusion.training.recipes import RECIPES

from .measured import Dial, learn_dial
from .workbench import add_shared, line, opened, settings_of

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


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, model="shapeland-dit", styles=["neon"], seed=0, prompts=16, threads=1)
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--noises", type=int, nargs="+", default=[1000])
    parser.add_argument("--maps", type=Path, help="folder to keep maps in")
    parser.add_argument("--out", type=Path, default=Path(f"runs/dit_recipes_{date.today()}.md"))


def main(options: argparse.Namespace) -> None:
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pipe = opened(options.model)
    for recipe in options.recipes:
        for style in options.styles:
            config = read_recipe(recipe, options.seed)
            dial = learn_dial(pipe, load_concept(style), config, prompts=options.prompts, seeds=options.noises)
            if options.maps:
                dial.maps.save_pretrained(options.maps / f"{style}-{'-'.join(re.findall('[a-z0-9.]+', recipe))}")
            with options.out.open("a", encoding="utf-8") as file:
                file.write(_line(recipe, style, dial) + "\n")
            print(_line(recipe, style, dial), flush=True)


def read_recipe(text: str, seed: int) -> TrainingConfig:
    """A recipe's settings."""
    modules, *settings = text.split()
    chosen = tuple(MODULES.get(name, name) for name in modules.split("+"))
    return TrainingConfig(**{**LAWS, "seed": seed, "target_modules": chosen, **settings_of(settings)})


def _line(recipe: str, style: str, dial: Dial) -> str:
    half, whole = dial.rows[2], dial.rows[-1]
    amounts = " ".join(f"{amount:.2f}" for amount in dial.amounts)
    objects = f"{half.object_accuracy:.2f} {whole.object_accuracy:.2f}"
    colors = f"{half.color_accuracy:.2f} {whole.color_accuracy:.2f}"
    figures = (f"{whole.style_probability:.2f}", amounts, f"{dial.largest_step:.2f}", objects, colors)
    return line([recipe, style, *figures, f"{dial.seconds:.0f}"])
