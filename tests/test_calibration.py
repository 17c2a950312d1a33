"""Calibration: monotone regression against SciPy, the curve against a dial whose law is known, and its use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from linea_diffusion import ClipScorer, LineaError, SteeringMaps, calibrate, load_concept
from linea_diffusion.calibration import clip_measure, isotonic

from .conftest import seeded


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_isotonic_is_that_of_scipy(values):
    assert np.allclose(isotonic(np.array(values)), isotonic_regression(values).x, atol=1e-9)


def _curved(pipe, power: float):
    """A measure whose mean at strength s is exactly s**power, whatever the pictures show."""
    seen = []

    def measure(images) -> np.ndarray:
        seen.append(len(images))
        return np.full(len(images), (np.linspace(0, 1, 11)[len(seen) - 1]) ** power)

    return measure


@pytest.fixture
def maps(random_maps) -> SteeringMaps:
    """Random maps that may be written to."""
    return 1.0 * random_maps


@pytest.mark.parametrize("power", [0.5, 3.0])
def test_equal_steps_of_a_calibrated_dial_are_equal_steps_of_the_measure(pipe, maps, power):
    curve = calibrate(pipe, maps, _curved(pipe, power), ["a red heart"], points=11, num_inference_steps=1)
    assert curve["strengths"] == pytest.approx(np.linspace(0, 1, 11).tolist())
    wanted = torch.tensor(curve["values"])
    given_back = maps.calibrated(wanted)
    assert torch.allclose(given_back, torch.tensor(curve["strengths"]), atol=1e-6)
    between = maps.calibrated(torch.linspace(0, 1, 101))
    assert bool((between.diff() >= 0).all())
    assert (between[0].item(), between[-1].item()) == (0, 1)


def test_outside_of_what_was_measured_the_strength_stays(pipe, maps):
    calibrate(pipe, maps, _curved(pipe, 3.0), ["a red heart"], points=11, num_inference_steps=1)
    outside = torch.tensor([-2.0, -0.3, 0.0, 1.0, 1.7])
    assert torch.equal(maps.calibrated(outside), outside)


def test_a_plateau_and_a_dip_are_no_trouble():
    maps = SteeringMaps({"unet.a": 2}, {"calibration": {"strengths": [0, 0.5, 0.7, 1], "values": [0, 0.4, 1, 1]}})
    assert maps.calibrated(torch.tensor([0.4, 0.7, 0.999999])).tolist() == pytest.approx([0.5, 0.6, 0.7], abs=1e-5)


def test_calibrated_pictures_are_those_of_the_strengths_behind(pipe, maps):
    curve = calibrate(pipe, maps, _curved(pipe, 3.0), ["a red heart"], points=11, num_inference_steps=1)
    pipe.load_steering(maps, "a")

    def render(strength, **options) -> torch.Tensor:
        return pipe("a red heart", strength=strength, output_type="latent", generator=seeded(), **options).images

    behind = maps.calibrated(torch.tensor(0.3)).item()
    assert behind == pytest.approx(0.3 ** (1 / 3), abs=0.02)
    assert torch.equal(render(0.3, calibrated=True), render(behind))
    assert torch.equal(render({"a": 0.3}, calibrated=True), render(behind))
    assert not torch.equal(render(0.3, calibrated=True), render(0.3))
    assert torch.equal(render([0.0, 0.3], calibrated=True), render([0.0, behind]))
    assert curve["measure"] == "CLIP cosine, style minus neutral"


def test_the_curve_is_kept_in_the_file(pipe, maps, tmp_path):
    curve = calibrate(pipe, maps, _curved(pipe, 2.0), ["a red heart"], points=11, num_inference_steps=1)
    maps.save_pretrained(tmp_path)
    assert SteeringMaps.from_pretrained(tmp_path).metadata["calibration"] == curve


def test_clip_measures_more_of_a_style_where_there_is_more():
    from linea_diffusion.shapeland.world import Scene, render

    measure = clip_measure(ClipScorer(), load_concept("watercolor").texts)
    amounts = (0.0, 0.5, 1.0)
    scores = measure([render(Scene("heart", "red", "watercolor" if a else "plain", a, 3)) for a in amounts])
    assert scores[0] < scores[1] < scores[2]


def test_what_cannot_be_calibrated_is_refused(pipe, maps):
    with pytest.raises(LineaError, match="without a calibration"):
        maps.calibrated(torch.tensor(0.5))
    pipe.load_steering(maps)
    with pytest.raises(LineaError, match="call calibrate first"):
        pipe("a red heart", strength=0.5, calibrated=True)
    with pytest.raises(LineaError, match="expected a rise"):
        calibrate(pipe, maps, lambda images: -np.ones(len(images)), ["a red heart"], points=3, num_inference_steps=1)
    for points, prompts in ((2, ["a"]), (5, [])):
        with pytest.raises(LineaError, match="at least 3 points"):
            calibrate(pipe, maps, lambda images: np.ones(len(images)), prompts, points=points)
