"""Does calibration make the dial even? Fitted with CLIP on training prompts, judged on held-out prompts.

python -m benchmarks dial_calibration --styles neon watercolor ... --maps "runs/sparsity/{style}/pruned to 0.1/0"
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from linea_diffusion import ClipScorer, SteeringMaps, calibrate, load_concept
from linea_diffusion.concepts.concept import StyleTexts
from linea_diffusion.pipelines.rendering.render import render_prompts
from linea_diffusion.scoring.statistics import bootstrap_interval, gap_deviation, spearman, triangle_deficit
from linea_diffusion.shapeland.truth import held_out_prompts, truth_judge
from linea_diffusion.training.calibration.calibrate import clip_measure

from .workbench import FIRST, add_shared, line, opened, results_of, table, write

STRENGTHS = tuple(round(0.125 * k, 3) for k in range(9))


def add_options(parser: argparse.ArgumentParser) -> None:
    styles = ["neon", "watercolor", "blueprint", "mosaic", "pixel art"]
    add_shared(parser, model=FIRST, styles=styles, prompts=64, threads=2)
    parser.add_argument("--maps", default="runs/sparsity/{style}/pruned to 0.1/0")
    parser.add_argument("--measure", choices=["clip", "truth"], default="clip")


def main(options: argparse.Namespace) -> None:
    pipe, scorer, rows = opened(options.model), ClipScorer(), []
    for style in options.styles:
        maps, texts = SteeringMaps.from_pretrained(options.maps.format(style=style)), load_concept(style).texts
        judge = truth_judge(style)
        measure = clip_measure(scorer, texts)
        if options.measure == "truth":
            measure = lambda images, judge=judge: judge(images, ["a red heart"] * len(images))["truth_amount"]  # noqa: E731
        calibrate(pipe, maps, measure, load_concept(style).source, name=options.measure)
        pipe.unload_steering()
        pipe.load_steering(maps)
        for dial in ("as trained", "calibrated"):
            rows.append(_row(pipe, scorer, judge, texts, dial, options.prompts))
            print(line(rows[-1]), flush=True)
    about = (
        f"`{options.model}`; maps of the default recipe, training seed 0; curve fitted on the 32 source prompts (seed "
        f"500), judged on {options.prompts} held-out prompts (seed 1000) at {len(STRENGTHS)} strengths. Amount: truth "
        "classifier. Spearman: mean over prompts of the rank correlation of strength and amount [95% interval], and of "
        "the mean curve. Gaps: standard deviation of the normalised gaps of the mean curve (0 is even), by the truth "
        "classifier and by the calibrating CLIP cosine. Triangle: mean deficit of CLIP embeddings, radians (0 is "
        "straight)."
    )
    head = (
        "style", "dial", "mean amount at the strengths", "Spearman, per prompt", "of the mean", "gaps", "gaps by CLIP",
        "triangle",
    )  # fmt: skip
    title = f"The dial before and after calibration, fitted by {options.measure}"
    write(results_of(options.model, f"calibration_{options.measure}.md"), title, about, table(head, rows))


def _row(pipe: Any, scorer: ClipScorer, judge: Any, texts: StyleTexts, dial: str, count: int) -> tuple[str, ...]:
    prompts = held_out_prompts(count)
    amounts, embeddings = [], []
    weigh = scorer.embed_texts([texts.text, texts.neutral]).numpy()
    for strength in STRENGTHS:
        noise = range(1000, 1000 + len(prompts))
        images = render_prompts(pipe, prompts, noise, strength=strength, calibrated=dial == "calibrated")
        amounts.append(judge(images, prompts)["truth_amount"])
        embeddings.append(scorer.embed_images(images).numpy())
    curve = np.stack(amounts, axis=1)
    mean = curve.mean(axis=0)
    rho = "{:.3f} [{:.3f}, {:.3f}]".format(*bootstrap_interval(spearman(STRENGTHS, curve)))
    pictures = np.stack(embeddings, axis=1)
    by_clip = (pictures @ (weigh[0] - weigh[1])).mean(axis=0)
    return (
        texts.name, dial, " ".join(f"{value:.2f}" for value in mean), rho, f"{spearman(STRENGTHS, mean):.3f}",
        f"{gap_deviation(STRENGTHS, mean):.2f}", f"{gap_deviation(STRENGTHS, by_clip):.2f}",
        f"{triangle_deficit(pictures).mean():.3f}",
    )  # fmt: skip
