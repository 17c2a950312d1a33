"""Figures: what is drawn is what was measured, and the words say the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from linea_diffusion import LineaError, SteeringMaps
from linea_diffusion.grids.report.figure_style import figure_style
from linea_diffusion.grids.report.plots import Curve, Sparsities, curves_plot, support_effect_plot, support_plot
from linea_diffusion.scoring.statistics import bootstrap_interval
from linea_diffusion.steering.affine.affine_map import affine_map

X = (0.0, 0.5, 1.0)
VALUES = np.array([[0.0, 0.2, 0.9], [0.1, 0.4, 1.0], [0.0, 0.1, 0.7], [0.0, 0.3, 0.8]])


def _axes(plot):
    with figure_style() as colors:
        figure = Figure(figsize=plot.size)
        plot.draw(figure, colors)
    return figure.axes[0], figure


def test_a_curve_is_the_mean_with_its_interval_over_thin_lines():
    plot = curves_plot([Curve("neon", X, VALUES)], figure="P(style)")
    axes, figure = _axes(plot)
    thin, mean = axes.lines[:-1], axes.lines[-1]
    assert [line.get_ydata().tolist() for line in thin] == VALUES.tolist()
    assert mean.get_ydata() == pytest.approx(VALUES.mean(axis=0))
    low, high = bootstrap_interval(VALUES[:, 2])[1:]
    band = axes.collections[0].get_paths()[0].vertices
    at_one = band[np.isclose(band[:, 0], 1), 1]
    assert (at_one.min(), at_one.max()) == pytest.approx((low, high))
    assert not figure.legends
    assert f"mean of 4: 0.025 at 0, 0.25 at 0.5, 0.85 at 1 (95% interval {low:.3g} to {high:.3g})." in plot.alt


def test_several_curves_have_a_legend_and_differ_by_more_than_colour():
    curves = [Curve(name, X, VALUES * scale) for name, scale in (("a", 1), ("b", 0.5))]
    axes, figure = _axes(curves_plot(curves, figure="amount", along="dial", bounds=(-1, 2)))
    assert len(axes.lines) == 2
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.lines]
    assert all(one != two for one, two in zip(*looks, strict=True))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_ylim()) == ("dial", "amount", (-1, 2))


def test_one_measured_curve_has_no_interval():
    plot = curves_plot([Curve("loss", X, VALUES[:1])], figure="loss")
    axes, _ = _axes(plot)
    assert len(axes.lines) == 1
    assert not axes.collections
    assert "interval" not in plot.alt


def test_a_single_point_has_a_bar():
    axes, _ = _axes(curves_plot([Curve("words", [1.0], VALUES[:, 2:]), Curve("maps", X, VALUES)], figure="x"))
    bar = axes.collections[0].get_segments()[0]
    assert bar[:, 1] == pytest.approx(bootstrap_interval(VALUES[:, 2])[1:])


@pytest.mark.parametrize("values", [VALUES[:, :2], VALUES[0], VALUES * np.nan, VALUES[:0]])
def test_values_that_do_not_fit_are_refused(values):
    with pytest.raises(LineaError, match="expected finite values"):
        curves_plot([Curve("x", X, values)], figure="x")


def test_no_curve_is_refused():
    with pytest.raises(LineaError, match="no curve"):
        curves_plot([], figure="x")


def test_effect_against_support_is_the_mean_over_styles():
    way = Sparsities("ours", np.array([[0.1, 0.12], [1.0, 1.0]]), np.array([[0.5, np.nan], [1.0, 0.9]]))
    plot = support_effect_plot([way], effect="effect kept")
    axes, _ = _axes(plot)
    assert axes.lines[0].get_xydata() == pytest.approx(np.array([[0.11, 0.5], [1.0, 0.95]]))
    assert axes.get_xscale() == "log"
    assert "ours: 0.95 at 100.00%, 0.50 at 11.00%." in plot.alt


def test_support_is_drawn_along_the_depth_and_counted_by_module():
    def made(scale: list[float], shift: list[float]):
        return affine_map(torch.tensor([scale]), torch.tensor([shift]))

    maps = SteeringMaps.of(
        {
            "unet.up_blocks.0.resnets.0.norm1": made([1.0, 0.0], [0.0, 0.0]),
            "unet.mid_block.resnets.0.norm1": made([0.0, 0.0], [0.0, 0.0]),
            "unet.down_blocks.0.resnets.0.norm1": made([1.0, 2.0], [0.0, 3.0]),
        },
        {"concept": "neon"},
    )
    plot = support_plot(maps)
    axes, _ = _axes(plot)
    assert [bar.get_height() for bar in axes.patches] == [0.75, 0.0, 0.25]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 3
    assert [text.get_text() for text in axes.texts] == ["down", "middle", "up"]
    assert plot.title == "Support by module: neon"
    assert "unet.down_blocks.0.resnets.0.norm1 75%" in plot.alt
    assert support_plot(maps, title="mine").title == "Support by module: mine"


@pytest.mark.parametrize("length", [1, 12, 24, 40])
def test_a_legend_stays_within_its_figure(length):
    curves = [Curve(letter * length, X, VALUES) for letter in "abc"]
    _, figure = _axes(curves_plot(curves, figure="x"))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
