"""Which part of the denoising schedule carries the style, and which the content: maps that act in parts of it.

python -m benchmarks schedule --model shapeland-dit   # with the maps of `learn`
"""

from __future__ import annotations

import argparse
from statistics import mean
from typing import Any

from linea_diffusion import SteeringMaps
from linea_diffusion.pipelines.rendering.render import render_prompts
from linea_diffusion.shapeland.truth import held_out_prompts

from .measured import contents_right, truth
from .workbench import FIRST, add_shared, line, opened, results_of, table, write

SEEDS = range(1000, 1032)
CURVES: dict[str, Any] = {
    "all of it": None,
    "first quarter": lambda share: float(share < 0.25),
    "second quarter": lambda share: float(0.25 <= share < 0.5),
    "third quarter": lambda share: float(0.5 <= share < 0.75),
    "last quarter": lambda share: float(share >= 0.75),
    "first half": lambda share: float(share < 0.5),
    "last half": lambda share: float(share >= 0.5),
    "rising, 0 to 1": [(0, 0), (1, 1)],
    "falling, 1 to 0": [(0, 1), (1, 0)],
}
"""Part of the schedule -> what the strength is times there; text encoders run at its beginning."""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, model=FIRST, styles=["neon", "watercolor", "mosaic"], prompts=32, threads=1)
    parser.add_argument("--maps", default="runs/maps/{model}/lineas/{style}-{seed}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of trainings")
    parser.add_argument("--strengths", nargs="+", type=float, default=[0.9, 1.0])


def main(options: argparse.Namespace) -> None:
    pipe, prompts = opened(options.model), held_out_prompts(options.prompts)
    rows = []
    for style in options.styles:
        places = [
            options.maps.format(model=options.model, style=style.replace(" ", "-"), seed=seed) for seed in options.seeds
        ]
        for part, curve in CURVES.items():
            for strength in options.strengths:
                rows.append([style, part, f"{strength:g}", *_figures(pipe, places, style, prompts, strength, curve)])
                print(line(rows[-1]), flush=True)
    about = (
        f"`{options.model}`; maps of the default recipe, training seeds {', '.join(map(str, options.seeds))}, at a "
        f"strength times a curve over the schedule; {len(prompts)} held-out prompts, one noise each; truth classifier. "
        "Maps of text encoders act where the curve begins above 0."
    )
    head = ("style", "maps act in", "strength", "P(style)", "amount", "object right", "colour right")
    write(results_of(options.model, "schedule.md"), "Parts of the schedule", about, table(head, rows))


def _figures(pipe: Any, places: list[str], style: str, prompts: list[str], strength: float, curve: Any) -> list[str]:
    """Means over prompts and sets of maps."""
    figures = []
    for place in places:
        pipe.unload_steering()
        pipe.load_steering(SteeringMaps.from_pretrained(place))
        images = render_prompts(pipe, prompts, SEEDS[: len(prompts)], strength=strength, strength_curve=curve)
        verdict = truth().judge(images)
        means = [one.mean().item() for one in (verdict.style_probability(style), verdict.amount_of(style))]
        figures.append([*means, *contents_right(verdict, prompts)])
    return [f"{mean(column):.2f}" for column in zip(*figures, strict=True)]
