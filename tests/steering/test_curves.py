"""A strength that is a curve over the denoising schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from linea_diffusion import LineaError
from linea_diffusion.steering.curves import curve_of, read_curve
from linea_diffusion.steering.dial import is_curve
from linea_diffusion.steering.parsing import parse_curve

from ..conftest import seeded

FEW = {"num_inference_steps": 4, "output_type": "np"}


def _render(pipe, prompt="a red heart", seeds=(0,), **kwargs) -> np.ndarray:
    return pipe(prompt, generator=[seeded(one) for one in seeds], **FEW, **kwargs).images


@pytest.fixture
def steered(pipe, random_maps):
    pipe.load_steering(random_maps, "loud")
    return pipe


def _near(first, second) -> bool:
    return np.abs(first - second).max() < 1e-4


def test_points_are_joined_by_straight_lines_and_level_outside():
    curve = curve_of([(0.2, 0.0), (0.6, 1.0), (0.8, 0.5)])
    shares = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.99)
    assert [round(float(curve.at(share)), 6) for share in shares] == [0, 0, 0.5, 1, 0.75, 0.5, 0.5]
    assert parse_curve("0:0, 0.3:1,1:0.5") == [(0.0, 0.0), (0.3, 1.0), (1.0, 0.5)]


def test_a_constant_curve_is_the_number(steered):
    expected = _render(steered, strength=0.6)
    for curve in ([(0, 0.6)], [(0.0, 0.6), (1.0, 0.6)], lambda share: 0.6, [[(0, 0.6)]]):
        assert _near(_render(steered, strength=curve), expected)
    assert _near(_render(steered, strength=1.2, strength_curve=[(0, 0.5)]), expected)


def test_a_window_is_such_a_curve(steered):
    window = _render(steered, strength=0.8, steering_start=0.5)
    assert _near(_render(steered, strength=lambda share: 0.8 * (share >= 0.5)), window)
    assert _near(_render(steered, strength=0.8, strength_curve=lambda share: float(share >= 0.5)), window)
    assert not _near(window, _render(steered, strength=0.8))


def test_every_picture_and_every_adapter_may_have_its_own(steered, random_maps):
    ramp = [(0, 0), (1, 1)]
    both = _render(steered, ["a red heart", "a blue fish"], (0, 1), strength=[ramp, 0.7])
    assert _near(both[:1], _render(steered, strength=ramp))
    assert _near(both[1:], _render(steered, "a blue fish", (1,), strength=0.7))
    steered.load_steering(-0.5 * random_maps, "other")
    halves = _render(steered, strength={"loud": ramp, "other": lambda share: 1 - share})
    assert not _near(halves, _render(steered, strength={"loud": ramp}))
    with random_maps.apply(steered.base, ramp):
        applied = steered.base("a red heart", generator=seeded(), **steered.default_arguments | FEW).images
    assert _near(applied, _render(steered, strength={"loud": ramp}))


def test_the_dial_is_read_at_every_step(steered):
    steered.steering["loud"].metadata["calibration"] = {
        "strengths": [0.0, 0.5, 1.0], "values": [0.0, 0.25, 1.0], "measure": "x",
    }  # fmt: skip
    try:
        assert _near(_render(steered, strength=[(0, 0.25)]), _render(steered, strength=0.5, calibrated=False))
    finally:
        del steered.steering["loud"].metadata["calibration"]


def test_curves_that_are_none_and_fused_weights(steered):
    for bad in ([(0, 0), (0, 1)], [(0.5, 1), (0.2, 0)], [(-0.1, 0)], [(0, float("nan"))], [("a", 1)]):
        with pytest.raises(LineaError, match=r"expected a function of the share|expected a finite number"):
            read_curve(bad)
    with pytest.raises(LineaError, match="a strength for each picture or a curve"):
        steered.fuse_steering([(0, 0), (1, 1)])
    with pytest.raises(LineaError, match="expected one number"):
        _render(steered, strength=lambda share: [0.1, 0.2])
    with pytest.raises(LineaError, match="expected points SHARE:STRENGTH"):
        parse_curve("0,1")
    assert not is_curve([0.1, 0.2])
    assert not is_curve(torch.ones(2, 2))
