"""Curves at equal amount of style: answers worked out by hand, and a fine grid of amounts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from linea_diffusion.scoring.equal_amount import area_over_amount, at_position, largest_step, position_at


@pytest.mark.parametrize(
    ("amount", "level", "expected"),
    [
        ([0.0, 0.4, 0.8], 0.4, 1.0),  # at a position
        ([0.0, 0.4, 0.8], 0.6, 1.5),  # half-way between two
        ([0.0, 0.8, 0.2, 1.0], 0.4, 0.5),  # the first of three crossings
        ([0.5, 0.2, 0.9], 0.3, 0.0),  # there from the beginning
        ([0.5], 0.5, 0.0),
        ([0.0, 0.5, 0.5, 0.5], 0.5, 1.0),  # a plateau begins where it is reached
    ],
)
def test_the_position_where_an_amount_is_first_reached(amount, level, expected):
    assert position_at(np.array(amount), level) == pytest.approx(expected)


def test_an_amount_that_is_not_reached_has_no_position():
    assert math.isnan(position_at(np.array([0.0, 0.7, 0.3]), 0.71))
    assert math.isnan(at_position(np.array([1.0, 0.5, 0.2]), np.nan))


def test_positions_and_figures_of_many_curves_at_once():
    amounts = np.array([[[0.0, 1.0], [0.0, 0.5]], [[0.2, 0.6], [0.9, 1.0]]])
    places = position_at(amounts, np.array([[0.5, 0.6], [0.4, 0.6]]))
    np.testing.assert_allclose(places, [[0.5, np.nan], [0.5, 0.0]])
    kept = np.broadcast_to(np.array([1.0, 0.5]), (2, 2, 2))
    np.testing.assert_allclose(at_position(kept, places), [[0.75, np.nan], [0.75, 1.0]])


def test_figures_between_and_at_positions():
    kept = np.array([1.0, 0.8, 0.2])
    assert at_position(kept, 0.0) == 1
    assert at_position(kept, 1.5) == pytest.approx(0.5)
    assert at_position(kept, 2.0) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("amount", "kept", "expected"),
    [
        ([0.0, 0.5, 1.0], [1.0, 1.0, 1.0], 1.0),  # all is kept up to the end
        ([0.0, 1.0], [1.0, 0.0], 1 - 0.95 / 2),  # falls evenly: its value half-way to .95
        ([0.0, 0.475], [1.0, 1.0], 0.5),  # comes half as far as .95
        ([0.19, 0.95], [1.0, 0.5], 0.2 + 0.8 * 0.75),  # below its first amount the first position counts
        ([0.0, 0.95, 0.1, 1.0], [1.0, 1.0, 0.0, 0.0], 1.0),  # what comes after does not matter
        ([0.0, 0.5, 0.2, 0.8], [1.0, 1.0, 0.0, 0.6], (0.5 + 0.3 * (0.3 + 0.6) / 2) / 0.95),  # comes back and goes on
        ([0.5, 0.2, 0.1], [0.8, 1.0, 1.0], 0.5 * 0.8 / 0.95),  # only falls
        ([0.97, 1.0], [0.7, 0.1], 0.7),  # begins beyond
        ([0.3], [0.5], 0.3 * 0.5 / 0.95),
    ],
)
def test_area_of_known_curves(amount, kept, expected):
    assert area_over_amount(np.array(amount), np.array(kept)) == pytest.approx(expected)


def test_area_up_to_another_amount():
    assert area_over_amount(np.array([0.0, 1.0]), np.array([1.0, 0.0]), to=0.5) == pytest.approx(0.75)


share = st.integers(0, 20).map(lambda number: number / 20)


@given(curves=st.integers(2, 6).flatmap(lambda k: arrays(float, (2, 3, k), elements=share)))
@settings(max_examples=60, deadline=None)
def test_area_is_the_mean_of_what_is_kept_at_each_amount(curves):
    amount, kept = curves
    levels = (np.arange(1900) + 0.5) / 2000
    read = [at_position(kept, position_at(amount, np.full(3, level))) for level in levels]
    np.testing.assert_allclose(area_over_amount(amount, kept), np.nan_to_num(read).mean(axis=0), atol=1e-3)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0, 0.25, 0.5, 0.75, 1.0], 0.25),  # even
        ([0.0, 0.0, 1.0, 1.0], 1.0),  # a switch
        ([0.1, 0.2, 0.5], 0.75),
        ([0.0, 0.8, 0.4], 2.0),  # overshoots
        ([0.3, 0.5, 0.3], math.inf),  # comes back to where it was
        ([0.3, 0.3], math.inf),
    ],
)
def test_largest_step_of_known_curves(scores, expected):
    assert largest_step(np.array(scores)) == pytest.approx(expected)
