"""The figures: scores against strength with intervals, effect against support, support along the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import LineaError
from ...maps.facts import Facts
from ...scoring.resampling import mean_interval
from ...scoring.statistics import bootstrap_interval
from .depth import by_depth, stage_of
from .figure_style import DASHES, MARKERS, Plot

if TYPE_CHECKING:
    from ...maps.steering_maps import SteeringMaps


@dataclass(frozen=True)
class Curve:
    """One line of a figure: n measured curves, drawn as their mean with a 95% bootstrap interval.

    Attributes:
        label: for the legend.
        x: (k,), such as strengths.
        values: (n, k); n = 1 has no interval.
        units: prompt of each of the n, and its training seed where there are several: what intervals are over. The n
            themselves when left out.
    """

    label: str
    x: Sequence[float]
    values: np.ndarray
    units: tuple[Sequence[str], Sequence[int] | None] | None = None

    def intervals(self) -> np.ndarray:
        """(k, 3): mean, low, high; all three the same for n = 1."""
        columns = np.asarray(self.values, dtype=float).T
        if self.units is not None:
            return np.array([mean_interval(column, *self.units) for column in columns])
        return np.array([bootstrap_interval(column) for column in columns])


def curves_plot(
    curves: Sequence[Curve],
    *,
    figure: str,
    title: str = "",
    along: str = "strength",
    bounds: tuple[float, float] | None = None,
    size: tuple[float, float] = (4.6, 2.9),
) -> Plot:
    """Curves with 95% intervals over their n members; a curve alone shows its members as thin lines too.

    Args:
        curves: at least one.
        figure: what is measured, for the vertical axis.
        title: of the plot, for its alternative text; `figure` when left out.
        along: what the horizontal axis is.
        bounds: of the vertical axis; from the data when left out.
        size: inches.

    Raises:
        LineaError: no curve, values that do not fit their x, or that are not finite.
    """
    for curve in curves:
        shape = np.shape(curve.values)
        if len(shape) != 2 or shape[1] != len(curve.x) or not shape[0] or not np.isfinite(curve.values).all():
            raise LineaError(f"got curve {curve.label!r} of shape {shape} for {len(curve.x)} points: expected finite "
                             "values (n, points) with n above 0")  # fmt: skip
    if not curves:
        raise LineaError("got no curve to draw: expected at least one")
    means = [curve.intervals() for curve in curves]

    def draw(canvas: Any, colors: tuple[str, ...]) -> None:
        axes = canvas.add_subplot()
        if len(curves) == 1 and len(curves[0].values) > 1:
            axes.plot(curves[0].x, np.transpose(curves[0].values), color=colors[0], alpha=0.22, linewidth=0.8)
        for number, (curve, rows) in enumerate(zip(curves, means, strict=True)):
            color = colors[number % len(colors)]
            if len(curve.x) == 1:
                axes.vlines(curve.x, rows[:, 1], rows[:, 2], color=color)
            elif len(curve.values) > 1:
                axes.fill_between(curve.x, rows[:, 1], rows[:, 2], color=color, alpha=0.2, linewidth=0)
            axes.plot(
                curve.x, rows[:, 0], color=color, label=curve.label,
                marker=MARKERS[number % len(MARKERS)] if len(curve.x) <= 25 else None,
                linestyle=DASHES[number % len(DASHES)],
            )  # fmt: skip
        axes.set(xlabel=along, ylabel=figure)
        if bounds is not None:
            axes.set_ylim(*bounds)
        if len(curves) > 1:
            canvas.legend(loc="outside upper left", ncols=_legend_columns(curves), handlelength=2.6, columnspacing=1.2)

    lines = [_in_words(curve, rows) for curve, rows in zip(curves, means, strict=True)]
    return Plot(draw, title or figure, f"{figure} against {along}. " + " ".join(lines), size)


def _legend_columns(curves: Sequence[Curve]) -> int:
    """As many as the longest label lets stand side by side."""
    longest = max(len(curve.label) for curve in curves)
    return min(len(curves), 3 if longest <= 12 else 2 if longest <= 24 else 1)


def _in_words(curve: Curve, rows: np.ndarray) -> str:
    """A curve as a sentence: at most six of its points, the interval at the last."""
    places = sorted({round(i) for i in np.linspace(0, len(curve.x) - 1, 6)})
    points = ", ".join(f"{rows[i, 0]:.3g} at {curve.x[i]:.3g}" for i in places)
    spread = f" (95% interval {rows[-1, 1]:.3g} to {rows[-1, 2]:.3g})" if len(curve.values) > 1 else ""
    mean = f"mean of {len(curve.values)}: " if len(curve.values) > 1 else ""
    return f"{curve.label}, {mean}{points}{spread}."


@dataclass(frozen=True)
class Sparsities:
    """One way to make maps sparse: its effect at several supports.

    Attributes:
        label: for the legend.
        support: (r, s): share of numbers that are not zero, of r recipes on s styles; NaN where there is none.
        effect: (r, s): effect kept.
    """

    label: str
    support: np.ndarray
    effect: np.ndarray


def support_effect_plot(ways: Sequence[Sparsities], *, effect: str, size: tuple[float, float] = (6.4, 3.8)) -> Plot:
    """Effect kept against support, on a logarithmic axis: every style a dot, the mean over styles a line.

    Args:
        ways: at least one.
        effect: what the vertical axis is.
        size: inches.
    """
    means = []
    for way in ways:
        pairs = [(np.nanmean(s), np.nanmean(e)) for s, e in zip(way.support, way.effect, strict=True)]
        means.append(np.array(sorted(pairs)))

    def draw(canvas: Any, colors: tuple[str, ...]) -> None:
        axes = canvas.add_subplot()
        for number, (way, line) in enumerate(zip(ways, means, strict=True)):
            look: dict[str, Any] = {"color": colors[number % len(colors)], "marker": MARKERS[number % len(MARKERS)]}
            axes.scatter(way.support, way.effect, s=12, alpha=0.3, linewidths=0, **look)
            axes.plot(*line.T, label=way.label, linestyle=DASHES[number % len(DASHES)], **look)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}" if value < 0.01 else f"{value:.0%}")
        axes.set(xlabel="support: share of the maps' numbers that are not zero", ylabel=effect, ylim=(-0.05, 1.12))
        axes.legend(loc="lower right", handlelength=2.6)

    words = [
        f"{way.label}: " + ", ".join(f"{e:.2f} at {s:.2%}" for s, e in line[::-1]) + "."
        for way, line in zip(ways, means, strict=True)
    ]
    return Plot(draw, "Effect kept against support", f"{effect} against support. " + " ".join(words), size)


def support_plot(maps: SteeringMaps, *, title: str = "", size: tuple[float, float] = (4.6, 2.6)) -> Plot:
    """Where in the model the maps act: the share of non-zero numbers of each module, along the depth.

    Args:
        maps: any set.
        title: such as the concept's name; the maps' own when left out.
        size: inches.
    """
    shares = {name: a.support for name, a in maps.named_maps()}
    names = by_depth(shares)
    values, stages = np.array([shares[name] for name in names]), [stage_of(name) for name in names]
    runs = _runs(stages)

    def draw(canvas: Any, colors: tuple[str, ...]) -> None:
        axes = canvas.add_subplot()
        parts = list(dict.fromkeys(stages))
        for stage, start, end in runs:
            color = colors[parts.index(stage) % len(colors)]
            axes.bar(range(start, end), values[start:end], width=0.86, color=color)
            if end - start > 0.1 * len(names):
                axes.text((start + end - 1) / 2, 1.02, stage, ha="center", va="bottom", fontsize=8,
                          transform=axes.get_xaxis_transform())  # fmt: skip
        axes.grid(axis="x", visible=False)
        axes.set(xlim=(-0.8, len(names) - 0.2), ylim=(0, max(values.max() * 1.05, 0.01)))
        axes.set(xlabel="module, from the first to the last", ylabel="share not zero")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}" if 0 < value < 0.01 else f"{value:.0%}")

    name = title or (Facts.of(maps.metadata).concept or "maps")
    means = "; ".join(f"{stage} {values[start:end].mean():.1%}" for stage, start, end in runs if end - start > 1)
    top = ", ".join(f"{names[i]} {values[i]:.0%}" for i in np.argsort(-values, kind="stable")[:3])
    alt = (
        f"Share of non-zero numbers in each of {len(names)} modules along the depth of the model, {maps.support:.1%} "
        f"in all. Mean by part: {means}. Most in: {top}."
    )
    return Plot(draw, f"Support by module: {name}", alt, size)


def _runs(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """(label, start, end) of every stretch of equal labels."""
    edges = [0, *(i for i in range(1, len(labels)) if labels[i] != labels[i - 1]), len(labels)]
    return [(labels[a], a, b) for a, b in pairwise(edges) if b > a]
