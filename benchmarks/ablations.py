"""What each choice of training by laws gives, one change of its recipe at a time, judged on held-out prompts.

    python -m benchmarks ablations modules --styles neon
    python -m benchmarks ablations prompts --styles watercolor
    python -m benchmarks ablations trajectory --styles watercolor

adds rows to results/ablations.csv and writes results/ablations.md. A row that is there is not made again.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from typing import Any

from linea_diffusion import Concept, TrainingConfig, load_concept
from linea_diffusion.shapeland.captions import HELD_OUT_PAIRS, PLAIN_WORDINGS, STYLED_WORDINGS, is_held_out
from linea_diffusion.shapeland.objects import COLORS, OBJECTS
from linea_diffusion.shapeland.truth import held_out_prompts
from linea_diffusion.training.recipes import RECIPES

from .measured import learn_dial
from .workbench import RESULTS, add_shared, opened, table, write

LAWS = {**RECIPES["unet"]["law"], "pairing": "law", "calibrate": False}
GROUPS: dict[str, dict[str, dict[str, Any]]] = {
    "modules": {
        "norms (default)": {},
        "attention": {"target_modules": "attention"},
        "denoiser-attention": {"target_modules": "denoiser-attention"},
        "text-attention": {"target_modules": "text-attention"},
        "text-attention, masked mean": {"target_modules": "text-attention", "pooling": "masked-mean"},
        "mlps": {"target_modules": "mlps"},
        "queries-keys": {"target_modules": "queries-keys"},
        "values": {"target_modules": "values"},
        "norms + denoiser-attention": {"target_modules": ("norms", "denoiser-attention")},
    },
    "prompts": {f"{count} + {count} prompts": {"prompts": count} for count in (4, 8, 16, 32, 64)},
    "trajectory": {
        "whole trajectory (default)": {},
        "cut between steps": {"backprop_through_steps": False},
        "a map per step (4 bins)": {"step_bins": 4},
        "2 bins": {"step_bins": 2},
        "1 training step": {"num_inference_steps": 1},
        "2 training steps": {"num_inference_steps": 2},
        "8 training steps": {"num_inference_steps": 8},
        "token samples": {"pooling": "tokens"},
        "scaled by variance": {"scale_by_variance": True},
    },
    "sparsity": {f"sparsity {value:g}": {"sparsity": value} for value in (0.0, 0.9, 0.97, 0.99)},
}
FIELDS = (
    "group",
    "style",
    "choice",
    "seed",
    "P(style)",
    "amounts",
    "largest step / whole",
    "object",
    "colour",
    "seconds",
)


def enlarged(style: str, count: int) -> Concept:
    """A concept of `count` + `count` prompts with equal contents: the packaged one, cut, or with more of its kind."""
    concept = load_concept(style)
    tested = set(held_out_prompts(64))
    source, target = list(concept.source), list(concept.target)
    contents = [(o, c) for o in OBJECTS for c in COLORS if (o, style) not in HELD_OUT_PAIRS]
    for number, (thing, color) in enumerate(contents * 4):
        plain = PLAIN_WORDINGS[number % len(PLAIN_WORDINGS)].format(color=color, object=thing)
        styled = STYLED_WORDINGS[number % len(STYLED_WORDINGS)].format(color=color, object=thing, style=style)
        if plain not in {*source, *tested} and styled not in target and not (is_held_out(plain) or is_held_out(styled)):
            source, target = [*source, plain], [*target, styled]
    return replace(concept, source=tuple(source[:count]), target=tuple(target[:count]), levels=())


def measure(pipe: Any, group: str, style: str, choice: str, seed: int) -> dict[str, str]:
    change = dict(GROUPS[group][choice])
    concept = enlarged(style, change.pop("prompts", 32)) if group == "prompts" else load_concept(style)
    dial = learn_dial(pipe, concept, TrainingConfig(**{**LAWS, "seed": seed, **change}), prompts=64, seeds=(1000,))
    last = dial.rows[-1]
    values = (
        group, style, choice, str(seed), f"{last.style_probability:.3f}",
        " ".join(f"{amount:.2f}" for amount in dial.amounts), f"{dial.largest_step:.2f}",
        f"{last.object_accuracy:.2f}", f"{last.color_accuracy:.2f}", f"{dial.seconds:.0f}",
    )  # fmt: skip
    return dict(zip(FIELDS, values, strict=True))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", choices=GROUPS)
    add_shared(parser, styles=["neon"], seed=0, threads=2)
    parser.add_argument("--choices", nargs="+")


def main(options: argparse.Namespace) -> None:
    pipe = opened()
    for style in options.styles:
        for choice in options.choices or GROUPS[options.group]:
            key = (options.group, style, choice, str(options.seed))
            if key not in {tuple(row[field] for field in FIELDS[:4]) for row in _rows()}:
                row = measure(pipe, *key[:3], options.seed)
                print(row, flush=True)
                _write([*_rows(), row])


def _rows() -> list[dict[str, str]]:
    path = RESULTS / "ablations.csv"
    return list(csv.DictReader(path.open())) if path.exists() else []


def _write(rows: list[dict[str, str]]) -> None:
    with (RESULTS / "ablations.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    shown, lines = FIELDS[1:], []
    for group in dict.fromkeys(row["group"] for row in rows):
        cells = ([row[field] for field in shown] for row in rows if row["group"] == group)
        lines += [f"## {group}", "", *table(shown, cells), ""]
    about = (
        "`shapeland-unet`; recipe for laws but for the choice; 64 held-out prompts at each of the strengths 0, .25, "
        ".5, .75, 1; truth classifier. Seconds of training on one core that other work shared: roughly."
    )
    write(RESULTS / "ablations.md", "One change at a time", about, lines[:-1])
