"""What the pictures of Shapeland are called, and which captions and pairs nobody trains on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from .objects import COLORS, OBJECTS
from .styles import STYLES
from .world import Scene

PLAIN_WORDINGS = (
    "a {color} {object}",
    "a picture of a {color} {object}",
    "a drawing of a {color} {object}",
    "one {color} {object}",
    "an image of a {color} {object}",
    "there is a {color} {object}",
    "a plain {color} {object}",
    "a {color} {object} on paper",
)
STYLED_WORDINGS = (
    "a {color} {object}, {style}",
    "a {color} {object} in {style} style",
    "{style}, a {color} {object}",
    "a picture of a {color} {object}, {style}",
    "a drawing of a {color} {object} in {style} style",
    "a {style} {color} {object}",
    "one {color} {object}, {style}",
    "an image of a {color} {object}, {style} style",
    "there is a {color} {object} in {style} style",
)
PARTIAL_WORDINGS = {
    "object": ("a {object}", "a picture of a {object}", "one {object}", "there is a {object}"),
    "color": ("something {color}", "a picture of something {color}", "a drawing of something {color}"),
    "style": ("{style}", "a picture of something, {style}", "a picture in {style} style", "a {style} picture"),
    "nothing": ("a picture", "a picture of something", "something", "a drawing of something"),
}
PARTIAL_SHARE = 0.15
AMOUNT_WORDS = (
    (0.15, 0.35, ("a hint of", "slightly")),
    (0.40, 0.60, ("half",)),
    (0.65, 0.85, ("strongly", "mostly")),
)
FULL_SHARE = 0.5

HELD_OUT_PAIRS = frozenset(
    {
        ("star", "watercolor"),
        ("cat", "pencil sketch"),
        ("heart", "pixel art"),
        ("fish", "neon"),
        ("tree", "blueprint"),
        ("house", "halftone"),
        ("boat", "mosaic"),
    }
)


def is_held_out(caption: str) -> bool:
    """Whether a caption belongs to the eighth (chosen by its digest) that no training ever sees."""
    return hashlib.sha256(caption.encode()).digest()[0] % 8 == 0


def plain_captions(*, held_out: bool) -> list[str]:
    """All captions of unstyled scenes on one side of the split, in a fixed order."""
    captions = (w.format(color=c, object=o) for w in PLAIN_WORDINGS for o in OBJECTS for c in COLORS)
    return [caption for caption in captions if is_held_out(caption) == held_out]


def styled_captions(style: str, *, held_out: bool) -> list[str]:
    """All captions that ask for the full style; training ones leave out the held-out pairs."""
    captions = []
    for wording in STYLED_WORDINGS:
        for thing in OBJECTS:
            for color in COLORS:
                caption = wording.format(color=color, object=thing, style=style)
                held = is_held_out(caption) or (thing, style) in HELD_OUT_PAIRS
                if held == held_out:
                    captions.append(caption)
    return captions


def caption_of(scene: Scene, rng: np.random.Generator) -> str:
    """One wording of a scene that is not held out, drawn with `rng`."""
    while True:
        caption = _wording(scene, rng)
        if not is_held_out(caption):
            return caption


def _wording(scene: Scene, rng: np.random.Generator) -> str:
    style = scene.style
    for low, high, adverbs in AMOUNT_WORDS:
        if low <= scene.amount <= high:
            style = f"{rng.choice(adverbs)} {style}"
    wordings: tuple[str, ...] = PLAIN_WORDINGS if scene.style == "plain" else STYLED_WORDINGS
    if rng.random() < PARTIAL_SHARE:
        wordings = PARTIAL_WORDINGS[str(rng.choice(list(PARTIAL_WORDINGS), p=(0.4, 0.2, 0.3, 0.1)))]
    return str(rng.choice(wordings)).format(color=scene.color, object=scene.object, style=style)


def training_scenes(seed: int = 0) -> Iterator[tuple[Scene, str]]:
    """Endless scenes with captions: no held-out pair, no held-out caption, a seventh of them plain."""
    rng = np.random.default_rng(seed)
    objects, colors, styles = list(OBJECTS), list(COLORS), ["plain", *STYLES]
    weights = np.array([1.5] + [1.0] * len(STYLES))
    while True:
        thing, color = str(rng.choice(objects)), str(rng.choice(colors))
        style = str(rng.choice(styles, p=weights / weights.sum()))
        if (thing, style) in HELD_OUT_PAIRS:
            continue
        scene = Scene(thing, color, style, _draw_amount(style, rng), int(rng.integers(2**31)))
        yield scene, caption_of(scene, rng)


def _draw_amount(style: str, rng: np.random.Generator) -> float:
    if style == "plain":
        return 0.0
    if rng.random() < FULL_SHARE:
        return 1.0
    low, high, _ = AMOUNT_WORDS[rng.integers(len(AMOUNT_WORDS))]
    return float(rng.uniform(low, high))
