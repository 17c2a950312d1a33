"""Two styles at once, and a style taken out: composition and inverse maps on held-out prompts.

python benchmarks/composition.py --model shapeland-dit   # with the maps of learn.py
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import replace
from datetime import date
from typing import Any

import torch
from where import add_model, results_of

from linea_diffusion import LinEASDiffusionPipeline, SteeringMaps, load_concept, train_steering_maps
from linea_diffusion.pipelines.rendering import render_prompts
from linea_diffusion.shapeland import load_truth_classifier
from linea_diffusion.shapeland.truth import content_of, held_out_prompts

SEEDS = range(1000, 1064)
PAIRS = (("neon", "mosaic"), ("watercolor", "pixel art"), ("blueprint", "mosaic"))


def composed(pipe: Any, classifier: Any, maps: dict[str, SteeringMaps], prompts: list[str]) -> list[str]:
    lines = [
        "## Two styles at once",
        "",
        "Mean probability and amount of either style, objects and colours right, on the dial of each.",
        "",
        "| styles | strengths | composition | P(first) | P(second) | amounts | object right | colour right |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for first, second in PAIRS:
        pipe.steering.clear()
        pipe.load_steering(maps[first], first)
        pipe.load_steering(maps[second], second)
        rows = [((1, 0), "sum"), ((0, 1), "sum"), ((0.5, 0.5), "sum"), ((1, 1), "sum"), ((1, 1), "chain")]
        for strengths, composition in rows:
            given = dict(zip((first, second), strengths, strict=True))
            verdict = classifier.judge(render_prompts(pipe, prompts, SEEDS, strength=given, composition=composition))
            things, colors = zip(*(content_of(prompt) for prompt in prompts), strict=True)
            kept = [one.float().mean().item() for one in (verdict.is_object(things), verdict.is_color(colors))]
            amounts = [verdict.amount_of(style).mean().item() for style in (first, second)]
            shares = [verdict.style_probability(style).mean().item() for style in (first, second)]
            lines.append(
                f"| {first}, {second} | {strengths[0]:g}, {strengths[1]:g} | {composition} | {shares[0]:.2f} | "
                f"{shares[1]:.2f} | {amounts[0]:.2f}, {amounts[1]:.2f} | {kept[0]:.2f} | {kept[1]:.2f} |"
            )
            print(lines[-1], flush=True)
    return lines


def removed(
    pipe: Any, classifier: Any, maps: dict[str, SteeringMaps], prompts: list[str], styles: list[str]
) -> list[str]:
    lines = [
        "",
        "## A style taken out of prompts that ask for it",
        "",
        'Prompts end in ", STYLE". Inverse: `maps.inverse()` of maps that induce the style. Negative: those maps at a '
        "negative strength. Reversed: maps trained from the styled prompts to the plain ones.",
        "",
        "| style | way | strength | P(style) | P(plain) | object right | colour right |",
        "| --- | --- | --- | --- | --- | --- | --- |",
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
                verdict = classifier.judge(render_prompts(pipe, asked, SEEDS, strength=strength))
                things, colors = zip(*(content_of(prompt) for prompt in prompts), strict=True)
                figures = (
                    verdict.style_probability(style), verdict.style_probability("plain"),
                    verdict.is_object(things).float(), verdict.is_color(colors).float(),
                )  # fmt: skip
                cells = " | ".join(f"{figure.mean().item():.2f}" for figure in figures)
                lines.append(f"| {style} | {way} | {strength:g} | {cells} |")
                print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser)
    parser.add_argument("--maps", default="runs/maps/{model}/lineas/{style}-0")
    parser.add_argument("--removed", nargs="+", default=["neon"], help="styles that are taken out")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe, classifier = LinEASDiffusionPipeline.from_pretrained(options.model), load_truth_classifier()
    pipe.set_progress_bar_config(disable=True)
    styles = dict.fromkeys(style for pair in PAIRS for style in pair)
    maps = {
        style: SteeringMaps.from_pretrained(options.maps.format(model=options.model, style=style.replace(" ", "-")))
        for style in styles
    }
    prompts = held_out_prompts(64)
    head = [
        "# Composition and removal",
        "",
        f"{date.today()}, {platform.machine()}, torch {torch.__version__}, `{options.model}`; maps of the default "
        "recipe, training seed 0; 64 held-out prompts, one noise each; truth classifier.",
        "",
    ]
    lines = composed(pipe, classifier, maps, prompts) + removed(pipe, classifier, maps, prompts, options.removed)
    results_of(options.model, "composition.md").write_text("\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    main()
