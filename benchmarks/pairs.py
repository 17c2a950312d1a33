"""One row of the table how the recipes for pairs were found: learn a style with some settings, judge held-out prompts.

    python -m benchmarks pairs --model shapeland-dit --style neon --set rank=8 iterations=40 sparsity=0.0

prints amounts along the uncalibrated dial, the largest step of each picture, and objects and colours at equal amount.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from linea_diffusion import load_concept, recipe_for, train_steering_maps
from linea_diffusion.pipelines.rendering.render import render_prompts
from linea_diffusion.scoring.equal_amount import at_position, largest_step, position_at
from linea_diffusion.shapeland.truth import held_out_prompts, truth_judge

from .workbench import FIRST, add_shared, opened, settings_of

LEVELS = (0.85, 0.9, 0.95)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, model=FIRST, prompts=32, threads=1)
    parser.add_argument("--style", default="neon")
    parser.add_argument("--set", nargs="*", default=[], help="settings of TrainingConfig, as rank=8")
    parser.add_argument("--top", type=float, default=1.0, help="end of the dial")


def main(options: argparse.Namespace) -> None:
    pipe, concept, settings = opened(options.model), load_concept(options.style), settings_of(options.set)
    began = time.process_time()
    maps = train_steering_maps(pipe, concept, recipe_for(pipe, concept, **settings))
    seconds = time.process_time() - began
    prompts, strengths = held_out_prompts(options.prompts), np.linspace(0, options.top, 9)
    judge, figures = truth_judge(concept.name), []
    for strength in strengths.tolist():
        with maps.apply(pipe, strength, calibrated=False):
            noise = range(1000, 1000 + len(prompts))
            figures.append(judge(render_prompts(pipe.base, prompts, noise, **pipe.default_arguments), prompts))
    amounts, objects, colors = (
        np.stack([one[name] for one in figures], axis=1) for name in ("truth_amount", "truth_object", "truth_color")
    )
    print(f"{options.model} {options.style} {settings}: {maps.stored} numbers, {seconds:.0f} CPU s")
    print("amount", *(f"{one:.2f}" for one in amounts.mean(axis=0)), f"each {np.median(largest_step(amounts)):.2f}")
    for level in LEVELS:
        place = position_at(amounts.mean(axis=0), level)
        read = [float(at_position(figure.mean(axis=0), place)) for figure in (objects, colors)]
        print(f"at amount {level:g}: object {read[0]:.2f}, colour {read[1]:.2f}")
