"""The things of Shapeland: each is a list of flat parts in unit coordinates.

A part is drawn in one of four roles: ``body`` (the caption's colour), ``dark`` and ``light`` (a darker
and a paler shade of it) and ``line`` (an open stroke). x grows to the right, y downwards, and every thing
fits the square [-1, 1] x [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """One filled polygon (roles body, dark, light) or open stroke (role line)."""

    role: str
    points: tuple[Point, ...]


def _polygon(role: str, *points: Point) -> Part:
    return Part(role, points)


def _ellipse(role: str, x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0) -> Part:
    steps = 40
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return Part(role, tuple((x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles))


def _star() -> list[Part]:
    points = []
    for i in range(10):
        radius = 1.0 if i % 2 == 0 else 0.45
        angle = math.pi * (i / 5 - 0.5)
        points.append((radius * math.cos(angle), 0.06 + radius * math.sin(angle)))
    return [_polygon("body", *points)]


def _heart() -> list[Part]:
    points = []
    for i in range(60):
        t = 2 * math.pi * i / 60
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((math.sin(t) ** 3, -0.06 - y / 16.5))
    return [_polygon("body", *points), _ellipse("light", -0.42, -0.42, 0.16, 0.12)]


def _house() -> list[Part]:
    return [
        _polygon("body", (-0.72, -0.1), (0.72, -0.1), (0.72, 0.92), (-0.72, 0.92)),
        _polygon("dark", (-0.98, -0.08), (0.0, -0.95), (0.98, -0.08)),
        _polygon("dark", (-0.18, 0.92), (-0.18, 0.38), (0.18, 0.38), (0.18, 0.92)),
        _polygon("light", (0.34, 0.14), (0.6, 0.14), (0.6, 0.42), (0.34, 0.42)),
        _polygon("light", (-0.6, 0.14), (-0.34, 0.14), (-0.34, 0.42), (-0.6, 0.42)),
    ]


def _tree() -> list[Part]:
    return [
        _polygon("dark", (-0.16, 0.5), (0.16, 0.5), (0.16, 0.98), (-0.16, 0.98)),
        _polygon("body", (-0.82, 0.6), (0.0, -0.3), (0.82, 0.6)),
        _polygon("body", (-0.64, 0.14), (0.0, -0.66), (0.64, 0.14)),
        _polygon("body", (-0.46, -0.3), (0.0, -0.98), (0.46, -0.3)),
    ]


def _fish() -> list[Part]:
    return [
        _polygon("dark", (0.42, 0.0), (0.98, -0.52), (0.86, 0.0), (0.98, 0.52)),
        _polygon("dark", (-0.2, -0.38), (0.12, -0.72), (0.3, -0.3)),
        _ellipse("body", -0.2, 0.0, 0.78, 0.46),
        _ellipse("light", -0.62, -0.12, 0.13, 0.13),
        _ellipse("line", -0.5, 0.0, 0.3, 0.36, -50, 50),
    ]


def _boat() -> list[Part]:
    return [
        _polygon("body", (-0.95, 0.35), (0.95, 0.35), (0.58, 0.85), (-0.58, 0.85)),
        _polygon("dark", (-0.06, -0.95), (0.06, -0.95), (0.06, 0.35), (-0.06, 0.35)),
        _polygon("body", (0.12, -0.88), (0.84, 0.2), (0.12, 0.2)),
        _polygon("light", (-0.12, -0.6), (-0.12, 0.2), (-0.68, 0.2)),
    ]


def _mushroom() -> list[Part]:
    return [
        _polygon("light", (-0.24, 0.0), (0.24, 0.0), (0.34, 0.9), (-0.34, 0.9)),
        _ellipse("body", 0.0, 0.08, 0.95, 0.98, 180, 360),
        _ellipse("light", -0.42, -0.3, 0.17, 0.17),
        _ellipse("light", 0.1, -0.55, 0.18, 0.18),
        _ellipse("light", 0.52, -0.22, 0.15, 0.15),
    ]


def _cat() -> list[Part]:
    return [
        _polygon("body", (-0.82, -0.95), (-0.2, -0.55), (-0.72, 0.05)),
        _polygon("body", (0.82, -0.95), (0.2, -0.55), (0.72, 0.05)),
        _ellipse("body", 0.0, 0.15, 0.84, 0.72),
        _ellipse("light", -0.34, 0.02, 0.17, 0.19),
        _ellipse("light", 0.34, 0.02, 0.17, 0.19),
        _polygon("dark", (-0.13, 0.3), (0.13, 0.3), (0.0, 0.46)),
        _polygon("line", (-0.98, 0.3), (-0.35, 0.4)),
        _polygon("line", (0.98, 0.3), (0.35, 0.4)),
    ]


OBJECTS: dict[str, Callable[[], list[Part]]] = {
    "star": _star,
    "heart": _heart,
    "house": _house,
    "tree": _tree,
    "fish": _fish,
    "boat": _boat,
    "mushroom": _mushroom,
    "cat": _cat,
}

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.13, 0.16),
    "yellow": (0.96, 0.78, 0.10),
    "green": (0.15, 0.62, 0.25),
    "teal": (0.08, 0.70, 0.72),
    "blue": (0.14, 0.33, 0.86),
    "purple": (0.56, 0.20, 0.76),
}
