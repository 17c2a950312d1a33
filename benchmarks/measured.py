"""What the truth classifier says of many generated pictures: how a dial behaves, and how well a model draws."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from linea_diffusion import Concept, SteeringMaps, TrainingConfig, train_steering_maps
from linea_diffusion.pipelines.rendering.render import render_prompts
from linea_diffusion.shapeland import load_truth_classifier
from linea_diffusion.shapeland.captions import HELD_OUT_PAIRS, STYLED_WORDINGS, is_held_out
from linea_diffusion.shapeland.classifier import TruthClassifier, Verdict
from linea_diffusion.shapeland.objects import COLORS, OBJECTS
from linea_diffusion.shapeland.styles import STYLES
from linea_diffusion.shapeland.truth import content_of, held_out_prompts
from linea_diffusion.shapeland.world import Scene

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where dials are read."""


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


@dataclass(frozen=True)
class Dial:
    """How the dial of some maps turns on held-out prompts.

    Attributes:
        maps: that were measured.
        rows: one for each of `STRENGTHS`.
        seconds: that the training took, 0 where the maps were there.
    """

    maps: SteeringMaps
    rows: list[DialRow]
    seconds: float = 0.0

    @property
    def amounts(self) -> list[float]:
        """Of the style, at each strength."""
        return [row.amount for row in self.rows]

    @property
    def steps(self) -> list[float]:
        """From each amount to the next."""
        return [after - before for before, after in pairwise(self.amounts)]

    @property
    def largest_step(self) -> float:
        """As a share of the whole rise; an even dial of five positions has 0.25."""
        return max(self.steps) / max(self.amounts[-1] - self.amounts[0], 1e-9)


def learn_dial(
    pipe: Any, concept: Concept, config: TrainingConfig, *, prompts: int = 32, seeds: Sequence[int] = (1000, 2000)
) -> Dial:
    """Maps that are learned now, and how their dial turns; prompts and seeds are those of `dial_of`."""
    began = time.monotonic()
    maps = train_steering_maps(pipe, concept, config)
    return dial_of(pipe, concept.name, maps, seconds=time.monotonic() - began, prompts=prompts, seeds=seeds)


def dial_of(
    pipe: Any,
    style: str,
    maps: SteeringMaps,
    *,
    seconds: float = 0.0,
    prompts: int = 32,
    seeds: Sequence[int] = (1000, 2000),
) -> Dial:
    """Turn the dial of some maps on held-out prompts and judge every picture; the maps stay loaded.

    Args:
        pipe: a `LinEASDiffusionPipeline`.
        style: one of `STYLES`.
        maps: of this style.
        seconds: that they took.
        prompts: how many held-out captions.
        seeds: each prompt is rendered once from each of these, plus its own number; the same at each strength.
    """
    pipe.unload_steering()
    pipe.load_steering(maps)
    captions = held_out_prompts(prompts) * len(seeds)
    noise = [seed + row for seed in seeds for row in range(len(captions) // len(seeds))]
    verdicts = {one: truth().judge(render_prompts(pipe, captions, noise, strength=one)) for one in STRENGTHS}
    return Dial(maps, [_dial_row(verdict, style, one, captions) for one, verdict in verdicts.items()], seconds)


def _dial_row(verdict: Verdict, style: str, strength: float, captions: Sequence[str]) -> DialRow:
    probability, amount = verdict.style_probability(style), verdict.amount_of(style)
    return DialRow(strength, probability.mean().item(), amount.mean().item(), *contents_right(verdict, captions))


def contents_right(verdict: Verdict, captions: Sequence[str]) -> tuple[float, float]:
    """Shares of pictures whose object, and whose colour, are those of their captions."""
    objects, colors = zip(*map(content_of, captions), strict=True)
    return verdict.is_object(objects).float().mean().item(), verdict.is_color(colors).float().mean().item()


@cache
def truth() -> TruthClassifier:
    """The classifier that knows."""
    return load_truth_classifier()


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
