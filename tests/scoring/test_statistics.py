"""The figures of a dial against SciPy, closed forms, geometry on the sphere and normal theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from linea_diffusion.scoring.statistics import at_content, bootstrap_interval, gap_deviation, spearman, triangle_deficit


@given(
    scores=st.integers(2, 9).flatmap(lambda k: arrays(float, (2, 3, k), elements=st.integers(-3, 3).map(float))),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_spearman_is_scipys_with_ties_and_over_batches(scores, seed):
    strengths = np.random.default_rng(seed).normal(size=scores.shape[-1])
    ranks = spearman(strengths, scores)
    assert ranks.shape == (2, 3)
    for place in np.ndindex(2, 3):
        flat = np.ptp(scores[place]) == 0
        expected = 0.0 if flat else stats.spearmanr(strengths, scores[place]).statistic
        assert ranks[place] == pytest.approx(expected, abs=1e-12)


def test_spearman_of_known_curves():
    strengths = [0.0, 0.1, 0.5, 1.0]
    curves = np.array([[0.0, 1.0, 1.5, 99.0], [4.0, 3.0, 2.0, 1.0], [2.0, 2.0, 2.0, 2.0], [1.0, 0.0, 1.0, 0.0]])
    np.testing.assert_allclose(spearman(strengths, curves)[:3], [1, -1, 0], atol=1e-15)
    assert spearman(strengths, curves[0]) == pytest.approx(1)
    assert spearman(strengths, curves[3]) == pytest.approx(stats.spearmanr(strengths, curves[3]).statistic)


@pytest.mark.parametrize("strengths", [[0.0, 0.25, 0.5, 0.75, 1.0], [-1.0, 0.1, 0.2, 3.0]])
@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (-2.0, 5.0), (1e-3, -1.0)])
def test_a_straight_line_has_no_gap_deviation(strengths, slope, offset):
    scores = slope * np.array(strengths) + offset
    assert gap_deviation(strengths, scores) == pytest.approx(0, abs=1e-9)


@given(
    rises=st.lists(st.floats(0.1, 3), min_size=2, max_size=6),
    widths=st.lists(st.floats(0.1, 3), min_size=6, max_size=6),
    scale=st.sampled_from([-2.0, 0.01, 7.0]),
)
@settings(max_examples=50, deadline=None)
def test_gap_deviation_weighs_each_rise_by_its_width(rises, widths, scale):
    widths = widths[: len(rises)]
    strengths, scores = np.cumsum([0.3, *widths]), scale * np.cumsum([1.0, *rises])
    slope = sum(rises) / sum(widths)
    gaps = [rise / width / slope for rise, width in zip(rises, widths, strict=True)]
    mean = sum(gaps) / len(gaps)
    expected = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert gap_deviation(strengths, scores) == pytest.approx(expected, abs=1e-9)


def test_gap_deviation_of_known_curves():
    # All of the rise in one of four equal steps: gaps 4, 0, 0, 0, of mean 1 and variance (9 + 3) / 4.
    jump = np.array([[0.0, 1.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0, 6.0], [3.0, 3.0, 3.0, 3.0, 3.0]])
    deviations = gap_deviation([0.0, 0.25, 0.5, 0.75, 1.0], jump)
    np.testing.assert_allclose(deviations[:2], math.sqrt(3))
    assert np.isnan(deviations[2])
    # It rises and comes back to where it began.
    assert np.isnan(gap_deviation([0.0, 0.5, 1.0], np.array([1.0, 2.0, 1.0])))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_a_great_circle_has_no_triangle_deficit():
    rng = np.random.default_rng(0)
    a, b = np.linalg.qr(rng.normal(size=(5, 2)))[0].T
    angles = np.sort(rng.uniform(0, math.pi, size=(3, 8)), axis=1)[..., None]
    path = np.cos(angles) * a + np.sin(angles) * b
    np.testing.assert_allclose(triangle_deficit(path), np.zeros(3), atol=1e-12)
    near = np.linspace(0, 1e-6, 5)[:, None]  # an arccos of rounded cosines would see steps of 1e-8 at best
    assert triangle_deficit(np.cos(near) * a + np.sin(near) * b) == pytest.approx(0, abs=1e-12)


def test_triangle_deficit_of_known_paths():
    x, y, z = np.eye(3)
    half = math.pi / 2
    # Three right angles: half + half - half.  Two of them in the mean: x y z x has 2 such triangles.
    assert triangle_deficit(np.stack([x, y, z])) == pytest.approx(half)
    assert triangle_deficit(np.stack([x, y, z, x])) == pytest.approx(half)
    # There and back: half + half - 0.  On to the antipode: half + half - pi.
    assert triangle_deficit(np.stack([x, y, x])) == pytest.approx(math.pi)
    assert triangle_deficit(np.stack([x, y, -x])) == pytest.approx(0)
    # Pauses cost nothing, and the mean is over triangles: one of pi, two of 0.
    assert triangle_deficit(np.stack([x, x, x, y])) == pytest.approx(0)
    assert triangle_deficit(np.stack([x, x, y, x, x])) == pytest.approx(math.pi / 3)


@given(vectors=arrays(float, (2, 5, 3), elements=st.floats(-1, 1).filter(lambda value: abs(value) > 1e-3)))
@settings(max_examples=60, deadline=None)
def test_triangle_deficit_is_the_mean_excess_of_angles_and_never_negative(vectors):
    path = _unit(vectors)
    angles = np.arccos(np.clip(path @ path.swapaxes(-1, -2), -1, 1))
    expected = [np.mean([one[i, i + 1] + one[i + 1, i + 2] - one[i, i + 2] for i in range(3)]) for one in angles]
    deficits = triangle_deficit(path)
    np.testing.assert_allclose(deficits, expected, atol=1e-6)
    assert (deficits > -1e-12).all()


def test_bootstrap_interval_is_scipys():
    values = np.random.default_rng(1).exponential(size=60)
    mean, low, high = bootstrap_interval(values, resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=2).confidence_interval
    assert mean == pytest.approx(values.mean())
    assert low < mean < high
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.99])
def test_bootstrap_interval_of_many_values_is_the_normal_one(level):
    values = 3 + 2 * np.random.default_rng(3).normal(size=800)
    mean, low, high = bootstrap_interval(values, level=level, resamples=4000)
    half = stats.norm.ppf((1 + level) / 2) * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.015)


def test_bootstrap_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(4)
    covered = 0
    for seed in range(300):
        _, low, high = bootstrap_interval(rng.normal(size=50), level=0.9, resamples=400, seed=seed)
        covered += low <= 0 <= high
    # 270 expected, standard deviation 5; the percentile interval is a little short at n = 50.
    assert 250 <= covered <= 285


def test_bootstrap_interval_depends_on_its_seed_alone():
    values = np.arange(10.0)
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, seed=5) != bootstrap_interval(values, seed=6)
    assert bootstrap_interval(values, resamples=10) != bootstrap_interval(values, resamples=11)
    assert bootstrap_interval(np.array([2.5])) == (2.5, 2.5, 2.5)
    assert bootstrap_interval(np.full(4, 0.5)) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("content", "style", "level", "expected"),
    [
        ([1.0, 0.8, 0.2], [0.0, 0.5, 1.0], 0.8, 0.5),  # met at a measured strength
        ([1.0, 0.8, 0.2], [0.0, 0.5, 1.0], 0.5, 0.75),  # half-way between two
        ([1.0, 0.8, 0.2], [0.0, 0.5, 1.0], 0.1, 1.0),  # content is never below
        ([1.0, 0.8, 0.2], [0.0, 0.9, 0.3], 0.5, 0.9),  # the best is not the last
        ([1.0, 0.4, 0.8], [0.0, 0.5, 1.0], 0.8, 1.0),  # content comes back
        ([0.2, 0.6, 0.2], [0.0, 0.5, 1.0], 0.5, 0.625),  # above it in the middle only
        ([0.4, 0.6], [1.0, 0.2], 0.5, 0.6),  # crossing upwards
        ([0.5, 0.5], [0.1, 0.3], 0.5, 0.3),
        ([1.0, 1.0, 0.9, 0.1, 0.0], [0.1, 0.9, 0.3, 0.3, 1.0], 0.5, 0.9),  # the best is early, the end is below
    ],
)
def test_most_style_at_a_content(content, style, level, expected):
    assert at_content(content, style, level) == pytest.approx(expected)


def test_no_style_without_the_content():
    assert math.isnan(at_content([0.4, 0.3, 0.2], [0.0, 0.5, 1.0], 0.5))


def test_one_measured_strength_is_enough():
    assert at_content([0.9], [0.3], 0.5) == 0.3
    assert math.isnan(at_content([0.4], [0.3], 0.5))


sixteenths = st.integers(0, 16).map(lambda number: number / 16)


@given(points=st.lists(st.tuples(sixteenths, sixteenths), min_size=2, max_size=5), level=sixteenths)
@settings(max_examples=100, deadline=None)
def test_most_style_is_the_maximum_along_the_polyline(points, level):
    content, style = map(list, zip(*points, strict=True))
    along = np.linspace(0, len(points) - 1, 2001)
    contents, styles = np.interp(along, range(len(points)), content), np.interp(along, range(len(points)), style)
    most, allowed = at_content(content, style, level), styles[contents >= level]
    if len(allowed):
        assert most >= allowed.max() - 1e-9
        # Where the content falls through the level, the exact style is between two points of the grid.
        assert most <= styles[contents >= level - 0.01].max() + 0.01
    else:
        assert math.isnan(most) or max(content) - level < 0.01
