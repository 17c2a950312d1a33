"""Does the dial work? Learn styles with the default recipe, judge held-out prompts by the truth classifier.

    python benchmarks/dial.py --styles neon watercolor blueprint

prints a Markdown table and writes it to ``benchmarks/results/dial.md`` (``dial_MODEL.md`` for another ``--model``).
Further options try other recipes.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from measured import DialRow, measure_dial
from where import add_model, results_of

from linea_diffusion import (
    LinEASDiffusionPipeline,
    SteeringMaps,
    TrainingConfig,
    load_concept,
    recipe_for,
    train_steering_maps,
)
from linea_diffusion.shapeland import load_truth_classifier

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    pipe = LinEASDiffusionPipeline.from_pretrained(options.model)
    pipe.set_progress_bar_config(disable=True)
    classifier = load_truth_classifier()
    given: dict[str, Any] = {
        "iterations": options.iterations,
        "lr": options.lr,
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance,
        "batch_size": options.batch_size,
        "dial_exponent": options.dial_exponent,
        "strengths": tuple(options.strengths) if options.strengths else None,
        "target_modules": tuple(options.modules) if options.modules else None,
    }
    config = recipe_for(pipe, seed=options.seed, **{key: value for key, value in given.items() if value is not None})
    lines = [
        "| style | strength | P(style) | amount | object right | colour right |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    verdicts = []
    for style in options.styles:
        began = time.monotonic()
        maps = _maps(pipe, style, config, options.maps)
        seconds = time.monotonic() - began
        pipe.load_steering(maps)
        rows = measure_dial(pipe, style, STRENGTHS, classifier=classifier, prompts=options.prompts)
        lines += [_line(style, row) for row in rows]
        took = "" if options.maps else f"; training took {seconds:.0f} s"
        verdicts.append(f"- {style}: {_judgement(rows)}; support {maps.support:.1%}{took}")
        print("\n".join([*lines[-len(rows) :], verdicts[-1]]), flush=True)
    head = [
        f"# The dial on `{options.model}`",
        "",
        f"{date.today()}, {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"{options.prompts} held-out prompts x 2 seeds at each strength, judged by the truth classifier.",
        f"Recipe: `{config}`.",
        "",
    ]
    out = options.out or results_of(options.model, "dial.md")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join([*head, *lines, "", *verdicts]) + "\n")
    print(out)


def _maps(pipe: Any, style: str, config: TrainingConfig, pattern: str | None) -> SteeringMaps:
    """Maps of this very recipe: learned now, or found where `pattern` says."""
    if pattern is None:
        return train_steering_maps(pipe, load_concept(style), config)
    maps = SteeringMaps.from_pretrained(pattern.format(style=style))
    trained = maps.metadata["training"]
    different = [key for key, value in json.loads(json.dumps(asdict(config))).items() if trained.get(key) != value]
    if different:
        raise SystemExit(f"the maps of {style} were trained with another recipe: {', '.join(different)} differ")
    return maps


def _line(style: str, row: DialRow) -> str:
    return (
        f"| {style} | {row.strength:g} | {row.style_probability:.3f} | {row.amount:.3f} | "
        f"{row.object_accuracy:.3f} | {row.color_accuracy:.3f} |"
    )


def _judgement(rows: list[DialRow]) -> str:
    """The figures that decide: style gained, monotone, largest step, object kept."""
    steps = [after.amount - before.amount for before, after in pairwise(rows)]
    whole = rows[-1].amount - rows[0].amount
    kept = rows[-1].object_accuracy / rows[0].object_accuracy
    checks = {
        f"P(style) {rows[0].style_probability:.3f} -> {rows[-1].style_probability:.3f}": (
            rows[0].style_probability <= 0.05 and rows[-1].style_probability >= 0.8
        ),
        f"smallest step {min(steps):.3f}": min(steps) > 0,
        f"largest step {max(steps) / whole:.2f} of the whole": max(steps) <= 0.5 * whole,
        f"object kept {kept:.3f}": kept >= 0.85,
    }
    return ", ".join(f"{text} {'(reached)' if good else '(MISSED)'}" for text, good in checks.items())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--styles", nargs="+", default=["neon", "watercolor", "blueprint"])
    add_model(parser)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--modules", nargs="+")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--dial-exponent", type=float)
    parser.add_argument("--strengths", type=float, nargs="+")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--maps", help="folders of maps of this recipe, as runs/{style}; trained when left out")
    parser.add_argument("--out", type=Path, help="table; beside the others when left out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
