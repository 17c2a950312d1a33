"""Does the dial work? Learn styles with the default recipe, judge held-out prompts by the truth classifier.

    python -m benchmarks dial --styles neon watercolor blueprint

prints a Markdown table and writes it to ``benchmarks/results/dial.md`` (``dial_MODEL.md`` for another ``--model``).
Further options try other recipes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from linea_diffusion import SteeringMaps, TrainingConfig, load_concept, recipe_for

from .measured import Dial, dial_of, learn_dial
from .workbench import FIRST, add_shared, opened, results_of, table, write


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, model=FIRST, styles=["neon", "watercolor", "blueprint"], seed=0, prompts=32, threads=2)
    parser.add_argument("--modules", nargs="+")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--dial-exponent", type=float)
    parser.add_argument("--strengths", type=float, nargs="+")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--maps", help="folders of maps of this recipe, as runs/{style}; trained when left out")
    parser.add_argument("--out", type=Path, help="table; beside the others when left out")


def main(options: argparse.Namespace) -> None:
    pipe = opened(options.model)
    settings = {
        "iterations": options.iterations,
        "lr": options.lr,
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance,
        "batch_size": options.batch_size,
        "dial_exponent": options.dial_exponent,
        "strengths": tuple(options.strengths) if options.strengths else None,
        "target_modules": tuple(options.modules) if options.modules else None,
    }
    config = recipe_for(pipe, seed=options.seed, **{key: value for key, value in settings.items() if value is not None})
    rows, verdicts = [], []
    for style in options.styles:
        dial = _measured(pipe, style, config, options)
        rows += [
            (
                style, f"{row.strength:g}", f"{row.style_probability:.3f}", f"{row.amount:.3f}",
                f"{row.object_accuracy:.3f}", f"{row.color_accuracy:.3f}",
            )
            for row in dial.rows
        ]  # fmt: skip
        took = "" if options.maps else f"; training took {dial.seconds:.0f} s"
        verdicts.append(f"- {style}: {_judgement(dial)}; support {dial.maps.support:.1%}{took}")
        print(verdicts[-1], flush=True)
    about = (
        f"{options.prompts} held-out prompts x 2 seeds at each strength, judged by the truth classifier.\nRecipe: "
        f"`{config}`."
    )
    head = ("style", "strength", "P(style)", "amount", "object right", "colour right")
    out = options.out or results_of(options.model, "dial.md")
    write(out, f"The dial on `{options.model}`", about, [*table(head, rows), "", *verdicts])


def _measured(pipe: Any, style: str, config: TrainingConfig, options: argparse.Namespace) -> Dial:
    """The dial of maps of this very recipe: learned now, or found where --maps says."""
    if options.maps is None:
        return learn_dial(pipe, load_concept(style), config, prompts=options.prompts)
    maps = SteeringMaps.from_pretrained(options.maps.format(style=style))
    trained = maps.metadata["training"]
    different = [key for key, value in json.loads(json.dumps(asdict(config))).items() if trained.get(key) != value]
    if different:
        raise SystemExit(f"the maps of {style} were trained with another recipe: {', '.join(different)} differ")
    return dial_of(pipe, style, maps, prompts=options.prompts)


def _judgement(dial: Dial) -> str:
    """The figures that decide: style gained, monotone, largest step, object kept."""
    first, last = dial.rows[0], dial.rows[-1]
    kept = last.object_accuracy / first.object_accuracy
    checks = {
        f"P(style) {first.style_probability:.3f} -> {last.style_probability:.3f}": (
            first.style_probability <= 0.05 and last.style_probability >= 0.8
        ),
        f"smallest step {min(dial.steps):.3f}": min(dial.steps) > 0,
        f"largest step {dial.largest_step:.2f} of the whole": dial.largest_step <= 0.5,
        f"object kept {kept:.3f}": kept >= 0.85,
    }
    return ", ".join(f"{text} {'(reached)' if good else '(MISSED)'}" for text, good in checks.items())
