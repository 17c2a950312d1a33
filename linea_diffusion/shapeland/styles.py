"""The styles of Shapeland. Each paints a scene with an amount from 0 (the plain picture) to 1.

Every style is continuous in its amount: at 0 it returns the plain picture exactly, and what makes the
style (paper, ink, glow, cells, dots) grows steadily with the amount.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True)
class Layers:
    """A scene before styling: coverage masks (64, 64) in [0, 1], colour and paper as RGB triples."""

    color: np.ndarray
    paper: np.ndarray
    body: np.ndarray
    dark: np.ndarray
    light: np.ndarray
    line: np.ndarray

    @property
    def shape(self) -> np.ndarray:
        """Coverage of the whole thing, whatever the shade."""
        return np.clip(self.body + self.dark + self.light, 0.0, 1.0)

    def plain(self, line: float = 1.0, color: np.ndarray | None = None) -> np.ndarray:
        """The flat picture, (64, 64, 3): paper, three shades of the colour, outlines of opacity `line`."""
        color = self.color if color is None else color
        picture = np.broadcast_to(self.paper, (*self.body.shape, 3))
        for mask, shade in ((self.body, color), (self.dark, color * 0.6), (self.light, 0.3 * color + 0.7)):
            picture = mix(picture, shade, mask)
        return mix(picture, self.color * 0.35, self.line * line)


def mix(below: np.ndarray, above: np.ndarray | float, opacity: np.ndarray | float) -> np.ndarray:
    """Lay `above` over `below` with an opacity of shape (64, 64) or a number."""
    opacity = np.asarray(opacity)
    if opacity.ndim == 2:
        opacity = opacity[..., None]
    return below + (above - below) * opacity


def blur(mask: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of a (64, 64) mask; radius in pixels."""
    image = Image.fromarray(mask.astype(np.float32), mode="F")
    return (
        np.asarray(
            Image.fromarray((np.asarray(image) * 255).clip(0, 255).astype(np.uint8)).filter(
                ImageFilter.GaussianBlur(radius)
            ),
            dtype=np.float64,
        )
        / 255
    )


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise in about [-1, 1], (64, 64), with `cells` bumps across."""
    grid = rng.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(grid, mode="F").resize((64, 64), Image.Resampling.BICUBIC), dtype=np.float64)


def _displace(picture: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Sample (64, 64, ...) at positions moved by (dx, dy) pixels, bilinearly, edges clamped."""
    ys, xs = np.mgrid[0:64, 0:64].astype(np.float64)
    x, y = np.clip(xs + dx, 0, 62.999), np.clip(ys + dy, 0, 62.999)
    x0, y0 = x.astype(int), y.astype(int)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    top = picture[y0, x0] * (1 - fx) + picture[y0, x0 + 1] * fx
    bottom = picture[y0 + 1, x0] * (1 - fx) + picture[y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy


def _watercolor(layers: Layers, plain: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Uneven transparent washes with dark wobbling rims that bleed into warm paper."""
    paper = np.array([0.98, 0.94, 0.85])
    masks = np.stack([layers.shape, layers.dark, layers.light], axis=-1)
    dx, dy = 1.8 * _noise(rng, 8), 1.8 * _noise(rng, 8)
    wash_noise, grain = _noise(rng, 6), rng.normal(0, 0.018, (64, 64))
    masks = _displace(masks, dx * amount, dy * amount)
    shape, dark, light = np.moveaxis(masks, -1, 0)
    rim = np.clip(shape - blur(shape, 2.2), 0, 1) * 1.6
    wash = np.clip(0.5 + 0.3 * wash_noise + rim + 0.25 * dark - 0.35 * light, 0.08, 1.0)
    halo = 0.30 * np.clip(blur(shape, 3.5) * (1 - shape) * 1.6, 0, 1)
    painted = mix(np.broadcast_to(paper, (64, 64, 3)), layers.color * 0.92, np.clip(shape * wash + halo, 0, 1))
    return mix(plain, painted + grain[..., None], amount)


def _pencil_sketch(layers: Layers, plain: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Graphite outlines and diagonal hatching on white paper; the colour goes."""
    paper, graphite = np.array([0.97, 0.97, 0.95]), np.array([0.22, 0.22, 0.25])
    ys, xs = np.mgrid[0:64, 0:64].astype(np.float64)
    wobble = _noise(rng, 6) * 0.8
    one_way = np.clip(1.6 * np.cos((xs + ys + wobble) * 2 * np.pi / 5) - 0.4, 0, 1)
    other_way = np.clip(1.6 * np.cos((xs - ys + wobble) * 2 * np.pi / 5) - 0.4, 0, 1)
    hatch = 0.6 * one_way * (layers.body + layers.dark) + 0.7 * other_way * layers.dark
    strokes = _displace(layers.line[..., None], _noise(rng, 10), _noise(rng, 10))[..., 0]
    ink = np.clip(np.maximum(hatch, 1.15 * strokes), 0, 1)
    drawn = mix(np.broadcast_to(paper, (64, 64, 3)), graphite, ink)
    return mix(plain, drawn, amount)


def _pixel_art(layers: Layers, plain: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Blocks of 4 x 4 pixels, few tones, no soft edges."""
    del rng
    blocks = layers.plain(line=0.9).reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    tones = np.round(blocks * 4) / 4
    blocky = np.repeat(np.repeat(0.35 * blocks + 0.65 * tones, 4, axis=0), 4, axis=1)
    seams = np.where((np.arange(64) % 4 == 3), 0.90, 1.0)
    return mix(plain, blocky * seams[:, None, None] * seams[None, :, None], amount)


def _neon(layers: Layers, plain: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Glowing tubes in the thing's colour on near-black."""
    night = np.array([0.05, 0.02, 0.10]) + rng.uniform(0, 0.02, 3)
    glow = np.clip(0.55 * layers.color + 0.45 * layers.color / layers.color.max(), 0, 1)
    halo = np.clip(blur(layers.line, 3.0) * 1.5, 0, 1)
    lit = mix(np.broadcast_to(night, (64, 64, 3)), glow * 0.25, layers.shape * 0.6)
    lit = lit + glow * halo[..., None]
    lit = mix(lit, 0.45 * glow + 0.55, np.clip(layers.line * 1.3, 0, 1))
    return mix(plain, lit, amount)


def _blueprint(layers: Layers, plain: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """White construction lines and a grid on deep blue; the colour goes."""
    blue = np.array([0.07, 0.22, 0.52])
    offset = rng.integers(0, 8)
    on_grid = ((np.arange(64) + offset) % 8 == 0).astype(np.float64)
    grid = np.maximum(on_grid[:, None], on_grid[None, :])
    sheet = mix(np.broadcast_to(blue, (64, 64, 3)), np.array([0.55, 0.70, 0.90]), 0.45 * grid)
    sheet = mix(sheet, np.array([0.20, 0.38, 0.70]), 0.45 * layers.shape)
    drawn = mix(sheet, np.array([0.93, 0.96, 1.0]), np.clip(layers.line * 1.25, 0, 1))
    return mix(plain, drawn, amount)


def _halftone(layers: Layers, plain: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """A printed screen of round dots at 45 degrees: big in the thing, tiny on the paper."""
    pitch = 5.0
    ys, xs = np.mgrid[0:64, 0:64].astype(np.float64)
    phase = rng.uniform(0, pitch, 2)
    u, v = (xs + ys) / np.sqrt(2) + phase[0], (xs - ys) / np.sqrt(2) + phase[1]
    distance = np.hypot(u % pitch - pitch / 2, v % pitch - pitch / 2)
    density = blur(0.72 * layers.body + 0.98 * layers.dark + 0.28 * layers.light, 0.8)
    radius = pitch * (0.10 + 0.50 * np.sqrt(np.clip(density, 0, 1)))
    dots = np.clip(radius - distance + 0.5, 0, 1)
    ink = mix(np.broadcast_to(layers.color, (64, 64, 3)), np.array([0.25, 0.25, 0.28]), 1 - blur(layers.shape, 1.0))
    printed = mix(np.broadcast_to(np.array([1.0, 0.99, 0.95]), (64, 64, 3)), ink, dots)
    return mix(plain, printed, amount)


def _mosaic(layers: Layers, plain: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Irregular tiles of one colour each, with dark grout between."""
    pitch, count = 6, 11
    cells = np.arange(count) * pitch
    jitter = rng.uniform(0.2 * pitch, 0.8 * pitch, (count**2, 2))
    sites = np.stack(np.meshgrid(cells, cells), axis=-1).reshape(-1, 2) + jitter
    ys, xs = np.mgrid[0:64, 0:64]
    pixels = np.stack([xs, ys], axis=-1).reshape(-1, 1, 2).astype(np.float64)
    distance = np.sqrt(((pixels - sites) ** 2).sum(-1))
    two = np.partition(distance, 1, axis=1)[:, :2]
    grout = np.maximum(np.clip(1.2 - (two[:, 1] - two[:, 0]), 0, 1).reshape(64, 64), 0.7 * layers.line)
    # A tile that the outline crosses is cut along it, as a mosaicist would.
    tile = distance.argmin(1) + count**2 * (layers.shape.reshape(-1) > 0.5)
    flat = layers.plain(line=0.0).reshape(-1, 3)
    sizes = np.maximum(np.bincount(tile, minlength=2 * count**2), 1)
    means = np.stack([np.bincount(tile, flat[:, c], 2 * count**2) / sizes for c in range(3)], axis=1)
    tones = means * rng.uniform(0.80, 1.12, (2 * count**2, 1))
    tiles = mix(tones[tile].reshape(64, 64, 3), np.array([0.25, 0.22, 0.20]), 0.85 * grout)
    return mix(plain, tiles, amount)


Painter = Callable[[Layers, np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Style:
    """A way to paint.

    Attributes:
        paint: ``(layers, plain, amount, rng) -> (64, 64, 3)``.
        shows_color: whether the full style still shows the thing's colour.
    """

    paint: Painter
    shows_color: bool = True


STYLES: dict[str, Style] = {
    "watercolor": Style(_watercolor),
    "pencil sketch": Style(_pencil_sketch, shows_color=False),
    "pixel art": Style(_pixel_art),
    "neon": Style(_neon),
    "blueprint": Style(_blueprint, shows_color=False),
    "halftone": Style(_halftone),
    "mosaic": Style(_mosaic),
}
