"""Figures at equal amount with intervals: dials made by hand, closed forms, and what drawing the same prompts means."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from linea_diffusion import LineaError
from linea_diffusion.scoring.resampling import MeasuredDial, dial_samples, interval, paired_differences, point_samples
from linea_diffusion.scoring.statistics import bootstrap_interval

STRENGTHS = (0.0, 0.5, 1.0)


def _dial(amount, color, **changes) -> MeasuredDial:
    amount, color = np.atleast_2d(amount).astype(float), np.atleast_2d(color).astype(float)
    prompts = [f"prompt {row}" for row in range(len(amount))]
    return replace(MeasuredDial(STRENGTHS[-amount.shape[1] :], amount, {"color": color}, prompts), **changes)


def _random(rows=40, seed=0, **changes) -> MeasuredDial:
    rng = np.random.default_rng(seed)
    amount = np.sort(rng.uniform(size=(rows, 3)), axis=1) + np.array([0, 0.1, 0.3])
    return _dial(amount, rng.integers(2, size=(rows, 3)), **changes)


def test_figures_of_a_dial_made_by_hand():
    dial = _dial([[0.0, 0.6, 1.0], [0.0, 0.2, 0.8], [0.0, 0.4, 0.9]], [[1, 1, 1], [1, 1, 0], [1, 1, 0]])
    figures = {name: interval(samples)[0] for name, samples in dial_samples(dial, levels=(0.4, 0.65, 0.95)).items()}
    # The mean amount is 0, .4, .9; colour 1, 1, 1/3.
    assert figures == pytest.approx(
        {
            "most": 0.9,
            "color at 0.4": 1.0,
            "color at 0.65": 2 / 3,
            "color at 0.95": math.nan,
            "area of color": (0.4 + 0.5 * 2 / 3) / 0.95,
            "largest step": 0.5 / 0.9,
            "step of a picture": 0.6,  # of .6, .75, .5556
            "spearman": 1.0,
            "gap deviation": 0.05 / 0.45,
        },
        nan_ok=True,
    )


def test_every_figure_has_an_interval_around_it():
    samples = dial_samples(_random(), resamples=300)
    assert {values.shape for values in samples.values()} == {(301,)}
    for name, values in samples.items():
        value, low, high = interval(values)
        assert low <= value <= high
        assert low < high or name == "spearman"  # each picture rises with every step


def test_intervals_of_means_are_those_of_the_ordinary_bootstrap():
    dial = _random(rows=60)
    mean, low, high = interval(point_samples(dial)["amount"])
    assert (mean, low, high) == pytest.approx(bootstrap_interval(dial.amount[:, -1]), abs=0.01)


def test_pictures_of_one_prompt_are_drawn_together():
    one = _random(rows=20)
    twice = MeasuredDial(STRENGTHS, np.repeat(one.amount, 2, 0), {"color": np.repeat(one.kept["color"], 2, 0)},
                 [prompt for prompt in one.prompts for _ in range(2)])  # fmt: skip
    for name, samples in dial_samples(one, resamples=200).items():
        np.testing.assert_allclose(dial_samples(twice, resamples=200)[name], samples, err_msg=name)
    apart = replace(twice, prompts=[f"{prompt} {row}" for row, prompt in enumerate(twice.prompts)])
    width = [np.diff(interval(point_samples(each)["amount"])[1:])[0] for each in (twice, apart)]
    assert width[1] < 0.8 * width[0]


def test_seeds_are_drawn_too():
    one = _random(rows=20)
    amount = np.concatenate([one.amount, one.amount - 0.2])
    both = MeasuredDial(STRENGTHS, amount, {"color": np.tile(one.kept["color"], (2, 1))}, list(one.prompts) * 2)
    seeded = replace(both, seeds=[0] * 20 + [1] * 20)
    width = [np.diff(interval(point_samples(each)["amount"])[1:])[0] for each in (both, seeded)]
    assert width[1] > width[0] + 0.1


def test_a_median_of_resamples_is_that_of_the_drawn_pictures():
    dial = _dial([[0.0, 0.1, 1.0], [0.0, 0.4, 1.0], [0.0, 0.5, 1.0], [0.2, 0.5, 0.2]], np.ones((4, 3)))
    samples = dial_samples(dial, resamples=500)["step of a picture"]
    assert samples[0] == pytest.approx((0.6 + 0.9) / 2)
    # 0.5, 0.6, 0.9 and infinity (it does not rise), or the mean of two of them
    values = (0.5, 0.6, 0.9, math.inf)
    possible = {round((a + b) / 2, 6) for a in values for b in values}
    assert set(np.round(samples, 6)) <= possible


def test_differences_are_paired():
    dial, other = _random(seed=1), _random(seed=1)
    other = replace(other, kept={"color": other.kept["color"] * 0.5})
    value, low, high = interval(paired_differences(dial, dial)["color at 0.85"])
    assert (value, low, high) == (0, 0, 0)
    apart = dial_samples(dial)["color at 0.85"]
    np.testing.assert_allclose(paired_differences(dial, other)["color at 0.85"], apart / 2)


def test_a_method_of_one_point_is_met_at_its_own_amount():
    dial = _dial([[0.0, 0.6, 1.0], [0.0, 0.4, 0.8]], [[1, 1, 0], [1, 1, 1]])
    point = MeasuredDial([1.0], dial.amount[:, 2:] - 0.2, {"color": np.array([[0.0], [1.0]])}, dial.prompts)
    # Its amount is .7, half-way between .5 and .9 of the dial, whose colour is .75 there.
    differences = paired_differences(dial, point)
    assert list(differences) == ["color at its amount"]
    assert differences["color at its amount"][0] == pytest.approx(0.25)
    beyond = replace(point, amount=np.ones((2, 1)))
    assert math.isnan(interval(paired_differences(dial, beyond)["color at its amount"])[0])


def test_an_amount_that_is_not_reached_is_unknown():
    dial = _dial(np.tile([0.0, 0.3, 0.5], (5, 1)), np.ones((5, 3)))
    samples = dial_samples(dial)
    assert all(map(math.isnan, interval(samples["color at 0.85"])))
    assert interval(samples["most"])[0] == pytest.approx(0.5)
    assert interval(samples["area of color"])[0] == pytest.approx(0.5 / 0.95)


def test_the_same_seed_draws_the_same():
    first, again, other = (dial_samples(_random(), resamples=50, seed=seed)["most"] for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_what_does_not_fit_is_refused():
    amount = np.zeros((2, 3))
    with pytest.raises(LineaError, match="one number for each picture and position"):
        MeasuredDial(STRENGTHS, amount, {"color": amount[:, :2]}, ["a", "b"])
    with pytest.raises(LineaError, match="something kept"):
        MeasuredDial(STRENGTHS, amount, {}, ["a", "b"])
    with pytest.raises(LineaError, match="1 seeds"):
        MeasuredDial(STRENGTHS, amount, {"color": amount}, ["a", "b"], [0])
    with pytest.raises(LineaError, match="ascending"):
        MeasuredDial((0, 1, 0.5), amount, {"color": amount}, ["a", "b"])
    dial = MeasuredDial(STRENGTHS, amount, {"color": amount}, ["a", "b"])
    with pytest.raises(LineaError, match="the same prompts"):
        paired_differences(dial, replace(dial, prompts=["a", "c"]))
    with pytest.raises(LineaError, match="several positions of the first"):
        paired_differences(MeasuredDial([1.0], amount[:, :1], {"color": amount[:, :1]}, ["a", "b"]), dial)
