"""Two styles at once, and a style taken out: composition and inverse maps on held-out prompts.

python -m benchmarks composition --model shapeland-dit   # with the maps of `learn`
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from linea_diffusion import SteeringMaps, load_concept, train_steering_maps
from linea_diffusion.pipelines.rendering.render import render_prompts
from linea_diffusion.shapeland.truth import held_out_prompts

from .measured import contents_right, truth
from .workbench import FIRST, add_shared, line, opened, results_of, table, write

SEEDS = range(1000, 1064)
PAIRS = (("neon", "mosaic"), ("watercolor", "pixel art"), ("blueprint", "mosaic"))


def composed(pipe: Any, maps: dict[str, SteeringMaps], prompts: list[str]) -> list[str]:
    head = ("styles", "strengths", "composition", "P(first)", "P(second)", "amounts", "object right", "colour right")
    lines = [
        "## Two styles at once",
        "",
        "Mean probability and amount of either style, objects and colours right, on the dial of each.",
        "",
        *table(head),
    ]
    for first, second in PAIRS:
        pipe.steering.clear()
        pipe.load_steering(maps[first], first)
        pipe.load_steering(maps[second], second)
        rows = [((1, 0), "sum"), ((0, 1), "sum"), ((0.5, 0.5), "sum"), ((1, 1), "sum"), ((1, 1), "chain")]
        for strengths, composition in rows:
            dial = {"strength": dict(zip((first, second), strengths, strict=True)), "composition": composition}
            verdict = truth().judge(render_prompts(pipe, prompts, SEEDS, **dial))
            amounts = [f"{verdict.amount_of(style).mean().item():.2f}" for style in (first, second)]
            shares = [verdict.style_probability(style).mean().item() for style in (first, second)]
            figures = [f"{figure:.2f}" for figure in contents_right(verdict, prompts)]
            cells = (f"{first}, {second}", f"{strengths[0]:g}, {strengths[1]:g}", composition)
            lines.append(line([*cells, *(f"{share:.2f}" for share in shares), ", ".join(amounts), *figures]))
            print(lines[-1], flush=True)
    return lines


def removed(pipe: Any, maps: dict[str, SteeringMaps], prompts: list[str], styles: list[str]) -> list[str]:
    lines = [
        "",
        "## A style taken out of prompts that ask for it",
        "",
        'Prompts end in ", STYLE". Inverse: `maps.inverse()` of maps that induce the style. Negative: those maps at a '
        "negative strength. Reversed: maps trained from the styled prompts to the plain ones.",
        "",
        *table(("style", "way", "strength", "P(style)", "P(plain)", "object right", "colour right")),
    ]
    for style in styles:
        concept = load_concept(style)
        turned = replace(concept, source=concept.target, target=concept.source, levels=())
        ways = {
            "nothing": (maps[style], (0.0,)),
            "inverse": (maps[style].inverse(), (0.5, 1.0)),
            "negative": (maps[style], (-0.5, -1.0)),
            "reversed": (train_steering_maps(pipe, turned), (0.5, 1.0)),
        }
        for way, (chosen, strengths) in ways.items():
            pipe.steering.clear()
            pipe.load_steering(chosen)
            for strength in strengths:
                asked = [f"{prompt}, {style}" for prompt in prompts]
                verdict = truth().judge(render_prompts(pipe, asked, SEEDS, strength=strength))
                shares = [verdict.style_probability(one).mean().item() for one in (style, "plain")]
                figures = (f"{figure:.2f}" for figure in (*shares, *contents_right(verdict, prompts)))
                lines.append(line([style, way, f"{strength:g}", *figures]))
                print(lines[-1], flush=True)
    return lines


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, model=FIRST, threads=2)
    parser.add_argument("--maps", default="runs/maps/{model}/lineas/{style}-0")
    parser.add_argument("--removed", nargs="+", default=["neon"], help="styles that are taken out")


def main(options: argparse.Namespace) -> None:
    pipe, prompts = opened(options.model), held_out_prompts(64)
    maps = {
        style: SteeringMaps.from_pretrained(options.maps.format(model=options.model, style=style.replace(" ", "-")))
        for style in dict.fromkeys(style for pair in PAIRS for style in pair)
    }
    about = (
        f"`{options.model}`; maps of the default recipe, training seed 0; 64 held-out prompts, one noise each; truth "
        "classifier."
    )
    lines = composed(pipe, maps, prompts) + removed(pipe, maps, prompts, options.removed)
    write(results_of(options.model, "composition.md"), "Composition and removal", about, lines)
