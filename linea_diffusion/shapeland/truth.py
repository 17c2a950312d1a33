"""What the truth classifier says of generated pictures: how well a model draws, and how a dial behaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from ..concepts.concept import list_concepts, load_concept
from . import load_truth_classifier
from .captions import plain_captions
from .objects import COLORS, OBJECTS


def content_of(caption: str) -> tuple[str, str]:
    """The object and the colour that a caption names."""
    words = caption.replace(",", " ").split()
    return next(o for o in OBJECTS if o in words), next(c for c in COLORS if c in words)


def held_out_prompts(count: int) -> list[str]:
    """Unstyled captions that no maps are learned from, going round the objects so that few of them serve too.

    First the 41 that the models never saw either; then those that are in no concept of the package.
    """
    learned = {prompt for name in list_concepts(world="shapeland") for prompt in load_concept(name).source}
    known = [caption for caption in plain_captions(held_out=False) if caption not in learned]
    return [*_round_the_objects(plain_captions(held_out=True)), *_round_the_objects(known)][:count]


def _round_the_objects(captions: Sequence[str]) -> list[str]:
    groups: dict[str, list[str]] = {thing: [] for thing in OBJECTS}
    for caption in captions:
        groups[content_of(caption)[0]].append(caption)
    rounds = max(map(len, groups.values()))
    return [group[turn] for turn in range(rounds) for group in groups.values() if turn < len(group)]


def truth_judge(style: str) -> Callable[[Sequence[Image.Image], Sequence[str]], dict[str, np.ndarray]]:
    """What `evaluate` asks of the truth classifier: (pictures, prompts) -> figures, (n,) each."""
    classifier = load_truth_classifier()

    def judge(images: Sequence[Image.Image], prompts: Sequence[str]) -> dict[str, np.ndarray]:
        verdict = classifier.judge(images)
        objects, colors = zip(*(content_of(prompt) for prompt in prompts), strict=True)
        return {
            "truth_style": verdict.style_probability(style).numpy(),
            "truth_amount": verdict.amount_of(style).numpy(),
            "truth_object": verdict.is_object(objects).float().numpy(),
            "truth_color": verdict.is_color(colors).float().numpy(),
        }

    return judge
