"""Scenes of Shapeland and how they become pixels: seeded, deterministic, 64 x 64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .objects import COLORS, OBJECTS, Part
from .styles import STYLES, Layers

SIZE = 64
_SUPERSAMPLING = 4
_RADIUS = 24.0


@dataclass(frozen=True)
class Scene:
    """What a picture shows: the truth that a caption tells and a classifier must find.

    Attributes:
        object: a key of `OBJECTS`.
        color: a key of `COLORS`.
        style: ``"plain"`` or a key of `STYLES`.
        amount: how much of the style, 0 (plain) to 1 (full); 0 exactly when the style is plain.
        seed: decides position, size, tilt, paper tint and the texture of the style.
    """

    object: str
    color: str
    style: str = "plain"
    amount: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, name, known in (("object", self.object, OBJECTS), ("color", self.color, COLORS)):
            if name not in known:
                raise ValueError(f"got {kind} {name!r}: expected one of {', '.join(known)}")
        if self.style != "plain" and self.style not in STYLES:
            raise ValueError(f"got style {self.style!r}: expected plain or one of {', '.join(STYLES)}")
        if not 0.0 <= self.amount <= 1.0 or (self.style == "plain") != (self.amount == 0.0):
            raise ValueError(
                f"got style {self.style!r} with amount {self.amount}: expected 0 < amount <= 1 for a style, "
                "and amount 0 with style 'plain'"
            )


def render_array(scene: Scene) -> np.ndarray:
    """Render a scene as a float32 array of shape (64, 64, 3), RGB in [0, 1]."""
    rng = np.random.default_rng(scene.seed)
    layers = _layers(scene, rng)
    plain = layers.plain()
    picture = plain if scene.style == "plain" else STYLES[scene.style].paint(layers, plain, scene.amount, rng)
    return np.clip(picture, 0.0, 1.0).astype(np.float32)


def render(scene: Scene) -> Image.Image:
    """Render a scene as a 64 x 64 RGB `PIL.Image.Image`."""
    return Image.fromarray((render_array(scene) * 255 + 0.5).astype(np.uint8))


def _layers(scene: Scene, rng: np.random.Generator) -> Layers:
    scale = _RADIUS * rng.uniform(0.92, 1.08)
    center = SIZE / 2 + rng.uniform(-2.5, 2.5, 2)
    tilt = math.radians(rng.uniform(-5, 5))
    paper = 0.94 + rng.uniform(-0.03, 0.03, 3)
    masks = _draw(OBJECTS[scene.object](), center, scale, tilt)
    return Layers(color=np.array(COLORS[scene.color]), paper=paper, **masks)


def _draw(parts: list[Part], center: np.ndarray, scale: float, tilt: float) -> dict[str, np.ndarray]:
    """Rasterise the parts into coverage masks of shape (64, 64): later parts cover earlier ones."""
    size = SIZE * _SUPERSAMPLING
    images = {role: Image.new("L", (size, size), 0) for role in ("body", "dark", "light", "line")}
    brushes = {role: ImageDraw.Draw(image) for role, image in images.items()}
    cos, sin = math.cos(tilt) * scale, math.sin(tilt) * scale
    width = int(1.5 * _SUPERSAMPLING)
    for part in parts:
        points = [
            ((center[0] + cos * x - sin * y) * _SUPERSAMPLING, (center[1] + sin * x + cos * y) * _SUPERSAMPLING)
            for x, y in part.points
        ]
        if part.role == "line":
            brushes["line"].line(points, fill=255, width=width)
            continue
        for role in ("body", "dark", "light"):
            brushes[role].polygon(points, fill=255 if role == part.role else 0)
        brushes["line"].polygon(points, fill=0)
        brushes["line"].line([*points, points[0], points[1]], fill=255, width=width, joint="curve")
    return {role: np.asarray(image.reduce(_SUPERSAMPLING), dtype=np.float64) / 255 for role, image in images.items()}
