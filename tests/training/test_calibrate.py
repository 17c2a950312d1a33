"""Calibration: monotone regression against SciPy, knots where the change is, laws that are known, and its use."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from linea_diffusion import ClipScorer, LineaError, SteeringMaps, calibrate, load_concept
from linea_diffusion.maps.facts import check_metadata
from linea_diffusion.training.calibration.calibrate import (
    ENOUGH,
    FINEST,
    calibrate_progress,
    clip_measure,
    isotonic,
    next_strengths,
)

from ..batches import tiny_pipe, tiny_style
from ..conftest import seeded

QUICK = {"num_inference_steps": 1, "height": 16, "width": 16}


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_isotonic_is_that_of_scipy(values):
    assert np.allclose(isotonic(np.array(values)), isotonic_regression(values).x, atol=1e-9)


class Watched(SteeringMaps):
    """Maps that remember at which strengths they were applied, so that a measure can be of a known law."""

    def apply(self, pipe, strength=1.0, **options):
        self.stood = getattr(self, "stood", [])
        self.stood.append(strength)
        return super().apply(pipe, strength, **options)


def _law(maps: Watched, law):
    """A measure whose mean at strength s is exactly law(s), whatever the pictures show."""
    return lambda images: np.full(len(images), law(maps.stood[-1]))


@pytest.fixture(scope="module")
def tiny():
    pipe = tiny_pipe()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def watched(tiny) -> Watched:
    return Watched.of(dict(tiny_style(tiny, 1).named_maps()))


def _fit(pipe, maps, law, **options) -> dict:
    return calibrate(pipe, maps, _law(maps, law), ["a red heart"], **{**QUICK, **options})


LAWS = {
    "root": lambda s: s**0.5,
    "cube": lambda s: s**3,
    "late": lambda s: max(0.0, s - 0.25) / 0.75,
    "early": lambda s: min(1.0, 2 * s),
    "cliff": lambda s: float(1 / (1 + np.exp(-60 * (s - 0.3)))),
    "hump": lambda s: s + 0.3 * np.sin(3 * np.pi * s),
    "downhill then up": lambda s: (s - 0.2) ** 2,
}


@pytest.mark.parametrize("law", list(LAWS))
def test_strengths_are_measured_where_the_change_is(tiny, watched, law):
    curve = _fit(tiny, watched, LAWS[law], points=65)
    strengths, values = np.array(curve["strengths"]), np.array(curve["values"])
    assert curve == check_metadata({"calibration": curve}, "here")["calibration"]
    assert 5 <= len(strengths) <= 65
    assert sorted(watched.stood) == curve["strengths"]
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= set(curve["strengths"])
    assert np.diff(strengths).min() >= FINEST
    wide = np.diff(strengths) >= 2 * FINEST
    assert (np.diff(values)[wide] <= ENOUGH + 1e-6).all()
    law_values = [LAWS[law](s) for s in strengths.tolist()]
    expected = isotonic_regression(law_values).x
    assert np.allclose(values, (expected - expected[0]) / (expected[-1] - expected[0]), atol=1e-6)


def test_a_cliff_gets_the_knots_that_a_slope_does_not_need(tiny, watched):
    fitted = _fit(tiny, watched, LAWS["cliff"], points=17)
    near = [s for s in fitted["strengths"] if 0.2 <= s <= 0.4]
    assert len(near) > len(fitted["strengths"]) / 2
    even = np.interp(
        watched.calibrated(torch.linspace(0, 1, 11, dtype=torch.float64)), fitted["strengths"], fitted["values"]
    )
    assert np.diff(even) == pytest.approx(0.1, abs=1e-5)


@pytest.mark.parametrize(("points", "used"), [(3, [0, 0.5, 1]), (4, [0, 0.5, 0.75, 1]), (5, [0, 0.25, 0.5, 0.75, 1])])
def test_points_are_a_bound(tiny, watched, points, used):
    assert _fit(tiny, watched, LAWS["cube"], points=points)["strengths"] == used


def test_several_gaps_at_once_are_those_of_one_after_the_other_on_a_line():
    means = {s: s for s in (0.0, 0.25, 0.5, 0.75, 1.0)}
    assert next_strengths(means, 4) == [0.125, 0.375, 0.625, 0.875]
    assert next_strengths(means, 1) == [0.125]
    assert next_strengths({0.0: 0.0, 0.5: 0.9, 1.0: 1.0}, 3) == [0.125, 0.25, 0.375]
    assert next_strengths({0.0: 0.0, 0.5: 0.0, 1.0: 0.0}, 3) == []
    assert next_strengths({0.0: 1.0, 0.5: 0.5, 1.0: 0.0}, 3) == []
    assert next_strengths({s: s for s in np.linspace(0, 1, 23).tolist()}, 3) == []  # no gap holds more than enough
    assert next_strengths({0.0: 0.0, FINEST: 1.0, 1.0: 1.0}, 3) == []  # nor is any wide enough


@pytest.mark.parametrize("law", ["root", "cube", "late", "early"])
def test_equal_steps_of_a_calibrated_dial_are_equal_steps_of_the_measure(tiny, watched, law):
    _fit(tiny, watched, LAWS[law], points=33)
    dial = torch.linspace(0, 1, 21, dtype=torch.float64)
    stood = watched.calibrated(dial)
    assert (stood[0].item(), stood[-1].item()) == (0, 1)
    seen = [LAWS[law](s) for s in stood.tolist()]
    assert seen == pytest.approx(dial.tolist(), abs=0.03)
    if law == "late":
        assert watched.calibrated(torch.tensor(1e-6)).item() == pytest.approx(0.25, abs=1e-3)


def test_maps_that_are_calibrated_already_are_measured_as_they_are(tiny, watched):
    first = _fit(tiny, watched, LAWS["cube"], points=9)
    assert first["values"] != pytest.approx(first["strengths"])
    stood = len(watched.stood)
    assert _fit(tiny, watched, LAWS["cube"], points=9) == first
    assert watched.stood[:stood] == watched.stood[stood:]
    pictures = []

    def keep(images) -> np.ndarray:
        pictures.append(np.asarray(images[0]))
        return np.full(len(images), float(len(pictures)))

    for curve in (first, None):
        watched.metadata["calibration"] = curve
        if curve is None:
            del watched.metadata["calibration"]
        calibrate(tiny, watched, keep, ["a red heart"], points=3, **QUICK)
    assert all(np.array_equal(*pair) for pair in zip(pictures[:3], pictures[3:], strict=True))


def test_calibrated_pictures_are_those_of_the_strengths_behind(tiny, watched):
    _fit(tiny, watched, LAWS["cube"])
    assert watched.metadata["calibration"]["measure"] == "CLIP cosine, style minus neutral"
    tiny.load_steering(watched, "a")

    def render(strength, **options) -> torch.Tensor:
        arguments = {**QUICK, "output_type": "latent", "generator": seeded(), **options}
        return tiny("a red heart", strength=strength, **arguments).images

    try:
        behind = watched.calibrated(torch.tensor(0.3)).item()
        assert behind == pytest.approx(0.3 ** (1 / 3), abs=0.02)
        expected = render(behind, calibrated=False)
        assert torch.equal(render(0.3), expected)
        assert torch.equal(render(0.3, calibrated=True), expected)
        assert torch.equal(render({"a": 0.3}), expected)
        assert not torch.equal(render(0.3, calibrated=False), expected)
        assert torch.equal(render([0.0, 0.3]), render([0.0, behind], calibrated=False))
    finally:
        tiny.unload_steering()


def test_the_curve_is_kept_in_the_file(tiny, watched, tmp_path):
    curve = _fit(tiny, watched, LAWS["root"], name="known")
    watched.save_pretrained(tmp_path)
    assert SteeringMaps.from_pretrained(tmp_path).metadata["calibration"] == curve
    assert curve["measure"] == "known"


def test_clip_measures_more_of_a_style_where_there_is_more():
    from linea_diffusion.shapeland.world import Scene, render

    measure = clip_measure(ClipScorer(), load_concept("watercolor").texts)
    amounts = (0.0, 0.5, 1.0)
    scores = measure([render(Scene("heart", "red", "watercolor" if a else "plain", a, 3)) for a in amounts])
    assert scores[0] < scores[1] < scores[2]


def test_progress_needs_few_calls(tiny, watched, monkeypatch):
    prompts = ["a red heart", "a blue fish", "a house"]
    calls = []
    monkeypatch.setattr(type(tiny.base), "__call__", _counted(type(tiny.base).__call__, calls))
    curve = calibrate_progress(tiny, watched, prompts, points=9, batch_size=24, **QUICK)
    assert curve["measure"] == "progress of latents"
    assert 5 <= len(curve["strengths"]) <= 9
    assert len(calls) <= 3  # both ends, the first three between them, all others
    assert all(count <= 24 for count in calls)
    rows = watched.stood
    assert any(isinstance(one, list) for one in rows)
    again = calibrate(tiny, watched, "progress", prompts, points=9, batch_size=1, **QUICK)  # a row at a time
    assert not any(isinstance(one, list) for one in rows[3:])
    assert np.interp(0.25, again["strengths"], again["values"]) == pytest.approx(
        np.interp(0.25, curve["strengths"], curve["values"]), abs=1e-3
    )


def _counted(call, calls: list):
    @functools.wraps(call)
    def counted(self, prompt, *args, **kwargs):
        calls.append(len(prompt))
        return call(self, prompt, *args, **kwargs)

    return counted


def test_what_cannot_be_calibrated_is_refused(tiny, watched):
    with pytest.raises(LineaError, match="without a calibration"):
        watched.calibrated(torch.tensor(0.5))
    with pytest.raises(LineaError, match="expected a rise"):
        _fit(tiny, watched, lambda s: -s, points=3)
    with pytest.raises(LineaError, match="expected a rise"):
        calibrate_progress(tiny, 0.0 * watched, ["a red heart"], **QUICK)
    assert "calibration" not in watched.metadata
    for points, prompts in ((2, ["a"]), (5, [])):
        with pytest.raises(LineaError, match="at least 3 points"):
            calibrate(tiny, watched, len, prompts, points=points)
    with pytest.raises(LineaError, match="got measure 'clip': expected 'progress'"):
        calibrate(tiny, watched, "clip", ["a"])
