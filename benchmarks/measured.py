"""What the truth classifier says of many generated pictures: how a dial behaves, and how well a model draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from linea_diffusion.pipelines.rendering import render_prompts
from linea_diffusion.shapeland.captions import HELD_OUT_PAIRS, STYLED_WORDINGS, is_held_out
from linea_diffusion.shapeland.classifier import TruthClassifier, Verdict
from linea_diffusion.shapeland.objects import COLORS, OBJECTS
from linea_diffusion.shapeland.styles import STYLES
from linea_diffusion.shapeland.truth import content_of, held_out_prompts
from linea_diffusion.shapeland.world import Scene


@dataclass(frozen=True)
class DialRow:
    """Means over all pictures at one strength, by the truth classifier.

    Attributes:
        strength: of the steering.
        style_probability: probability of the style, [0, 1].
        amount: amount of the style, 0 (plain) to 1 (full).
        object_accuracy: share of pictures whose object is the prompt's.
        color_accuracy: share of pictures whose colour is the prompt's.
    """

    strength: float
    style_probability: float
    amount: float
    object_accuracy: float
    color_accuracy: float


def measure_dial(
    pipe: Any,
    style: str,
    strengths: Sequence[float],
    *,
    classifier: TruthClassifier,
    prompts: int = 32,
    seeds: Sequence[int] = (1000, 2000),
    **arguments: Any,
) -> list[DialRow]:
    """Turn a steered pipeline's dial on held-out prompts and judge every picture.

    Args:
        pipe: a `LinEASDiffusionPipeline` with maps of `style` loaded.
        style: one of `STYLES`.
        strengths: the dial's positions; noise is the same at each.
        classifier: from `load_truth_classifier`.
        prompts: how many held-out captions.
        seeds: each prompt is rendered once from each of these, plus its own number.
        **arguments: of the pipeline.
    """
    captions = held_out_prompts(prompts) * len(seeds)
    noise = [seed + row for seed in seeds for row in range(len(captions) // len(seeds))]
    contents = [content_of(caption) for caption in captions]
    rows = []
    for strength in strengths:
        verdict = classifier.judge(render_prompts(pipe, captions, noise, strength=strength, **arguments))
        rows.append(_dial_row(verdict, style, strength, contents))
    return rows


def _dial_row(verdict: Verdict, style: str, strength: float, contents: Sequence[tuple[str, str]]) -> DialRow:
    objects, colors = zip(*contents, strict=True)
    return DialRow(
        strength=strength,
        style_probability=verdict.style_probability(style).mean().item(),
        amount=verdict.amount_of(style).mean().item(),
        object_accuracy=verdict.is_object(objects).float().mean().item(),
        color_accuracy=verdict.is_color(colors).float().mean().item(),
    )


def quality_scenes(count: int = 256, *, seed: int = 0) -> list[tuple[Scene, str]]:
    """Scenes with captions for judging a model: all styles in turn, every fifth a held-out object-style pair."""
    rng = np.random.default_rng(seed)
    pairs = sorted(HELD_OUT_PAIRS)
    chosen = []
    for number in range(count):
        style = ("plain", *STYLES)[number % (len(STYLES) + 1)]
        thing = str(rng.choice([o for o in OBJECTS if (o, style) not in HELD_OUT_PAIRS]))
        if number % 5 == 0:
            thing, style = pairs[(number // 5) % len(pairs)]
        scene = Scene(thing, str(rng.choice(list(COLORS))), style, 0.0 if style == "plain" else 1.0, number)
        chosen.append((scene, _quality_caption(scene, rng)))
    return chosen


def _quality_caption(scene: Scene, rng: np.random.Generator) -> str:
    wordings = ("a {color} {object}", "a plain {color} {object}") if scene.style == "plain" else STYLED_WORDINGS
    captions = [w.format(object=scene.object, color=scene.color, style=scene.style) for w in wordings]
    allowed = [caption for caption in captions if not is_held_out(caption)] or captions
    return str(rng.choice(allowed))


def measure_quality(
    pipe: Any, *, classifier: TruthClassifier, count: int = 256, seed: int = 0, **arguments: Any
) -> dict[str, float]:
    """How often a model draws what it is asked for: shares in [0, 1] of object, color (where shown) and style."""
    scenes, captions = zip(*quality_scenes(count, seed=seed), strict=True)
    images = render_prompts(pipe, captions, range(seed, seed + count), **arguments)
    verdict = classifier.judge(images)
    shown = torch.tensor([scene.style == "plain" or STYLES[scene.style].shows_color for scene in scenes])
    held = torch.tensor([(scene.object, scene.style) in HELD_OUT_PAIRS for scene in scenes])
    objects = verdict.is_object([scene.object for scene in scenes]).float()
    styles = verdict.is_style([scene.style for scene in scenes]).float()
    return {
        "object": objects.mean().item(),
        "color": verdict.is_color([scene.color for scene in scenes])[shown].float().mean().item(),
        "style": styles.mean().item(),
        "object_held_out_pairs": objects[held].mean().item(),
        "style_held_out_pairs": styles[held].mean().item(),
    }
