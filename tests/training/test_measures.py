"""What a dial is calibrated by: progress against its formula, on latents and on pixels, by rows or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from linea_diffusion import LineaError, LinEASDiffusionPipeline
from linea_diffusion.training.calibration.measures import picture_measure, progress_measure

from ..batches import tiny_pipe, tiny_style
from ..conftest import count_hooks, seeded

PROMPTS, SEEDS = ["a red heart", "a blue fish"], [3, 4]
QUICK = {"num_inference_steps": 2, "height": 16, "width": 16, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def tiny():
    pipe = tiny_pipe()
    pipe.set_progress_bar_config(disable=True)
    return pipe.base


@pytest.fixture(scope="module")
def maps(tiny):
    return tiny_style(LinEASDiffusionPipeline(tiny), 1)


def _share(tiny, maps, strength: float, prompt: str, seed: int, output_type: str) -> float:
    """The formula, with a call for each picture."""
    pictures = []
    for one in (0.0, 1.0, strength):
        with maps.apply(tiny, one):
            made = tiny(prompt, generator=seeded(seed), output_type=output_type, **QUICK).images[0]
        pictures.append(np.asarray(made, dtype=np.float64).ravel())
    start, end, here = pictures
    return float(np.clip((here - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1))


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_progress_is_the_share_of_the_way_of_each_picture(tiny, maps, batch_size):
    read = progress_measure(tiny, maps, PROMPTS, SEEDS, batch_size=batch_size, **QUICK)
    progress = read([0.0, 0.5, 0.75, 1.0])
    assert progress.shape == (4, 2)
    assert (progress[0] == 0).all()
    assert (progress[-1] == 1).all()
    for row, strength in ((1, 0.5), (2, 0.75)):
        for column, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
            expected = _share(tiny, maps, strength, prompt, seed, "latent")
            assert 0 < expected < 1
            assert progress[row, column] == pytest.approx(expected, abs=2e-3)
    assert read([0.75]) == pytest.approx(progress[2:3], abs=2e-3)


def test_without_latents_pixels_are_measured(tiny, maps, monkeypatch):
    monkeypatch.setattr("linea_diffusion.training.calibration.measures.accepts", lambda *_: False)
    progress = progress_measure(tiny, maps, PROMPTS[:1], SEEDS[:1], **QUICK)([0.5])
    assert progress[0, 0] == pytest.approx(_share(tiny, maps, 0.5, PROMPTS[0], SEEDS[0], "pil"), abs=0.02)


def test_strengths_are_raw_whatever_calibration_the_maps_carry(tiny, maps):
    plain = progress_measure(tiny, maps, PROMPTS, SEEDS, **QUICK)([0.25])
    maps.metadata["calibration"] = {"strengths": [0, 0.9, 1], "values": [0, 0.1, 1], "measure": "truth"}
    try:
        assert np.array_equal(progress_measure(tiny, maps, PROMPTS, SEEDS, **QUICK)([0.25]), plain)
    finally:
        del maps.metadata["calibration"]


def test_a_picture_that_maps_leave_alone_stays_at_0(tiny, maps):
    assert (progress_measure(tiny, 0.0 * maps, PROMPTS, SEEDS, **QUICK)([0.0, 0.5, 1.0]) == 0).all()
    assert (progress_measure(tiny, 1e-7 * maps, PROMPTS, SEEDS, **QUICK)([0.0, 0.5, 1.0]) == 0).all()


def test_the_pipeline_is_left_as_it_was(tiny, maps):
    before, training, bar = count_hooks(tiny), tiny.unet.training, dict(tiny._progress_bar_config)
    progress_measure(tiny, maps, PROMPTS, SEEDS, **QUICK)([0.5])
    assert (count_hooks(tiny), tiny.unet.training, tiny._progress_bar_config) == (before, training, bar)


def test_numbers_that_are_not_finite_are_no_progress(tiny, maps):
    broken = tiny_style(LinEASDiffusionPipeline(tiny), 1)
    with torch.no_grad():
        next(iter(broken.parameters())).fill_(float("inf"))
    with pytest.raises(LineaError, match="not finite"):
        progress_measure(tiny, broken, PROMPTS, SEEDS, **QUICK)


def test_a_measure_of_pictures_sees_each_strength_in_turn(tiny, maps):
    seen = []

    def measure(images) -> np.ndarray:
        seen.append(np.asarray(images[1]))
        return np.array([1.0, 2.0]) * len(seen)

    read = picture_measure(tiny, maps, PROMPTS, SEEDS, measure, **QUICK)
    assert read([0.0, 1.0]).tolist() == [[1, 2], [2, 4]]
    plain = tiny(PROMPTS[1], generator=seeded(4), **QUICK).images[0]
    assert np.abs(seen[0].astype(int) - np.asarray(plain)).max() <= 1
    assert np.abs(seen[1].astype(int) - np.asarray(plain)).max() > 1
