"""How much work a training is: what is said beforehand is what is done."""

from __future__ import annotations

import pytest
import torch

from linea_diffusion import load_concept, recipe_for, train_steering_maps
from linea_diffusion.training.effort import BACKWARD, passes_of_picture, seconds_of_pass, training_effort
from linea_diffusion.training.learning import for_concept

from ..conftest import NEON

QUICK = {"iterations": 2, "batch_size": 4, "num_inference_steps": 2}


@pytest.fixture
def rows(pipe):
    """Rows of the denoiser that ran, without and with gradients."""
    seen = {False: 0, True: 0}

    def count(model, args):
        seen[torch.is_grad_enabled()] += len(args[0])

    handle = pipe.unet.register_forward_pre_hook(count)
    yield seen
    handle.remove()


@pytest.mark.parametrize("settings", [{}, {"micro_batch_size": 2}, {"guidance_scale": 3.0}, {"pairing": "law"}])
def test_passes_are_those_that_run(pipe, rows, settings):
    config = for_concept(recipe_for(pipe, NEON, **QUICK, **settings), NEON)
    said = {one.stage: one.passes for one in training_effort(pipe, NEON, config)}
    rows.update({False: 0, True: 0})
    train_steering_maps(pipe, NEON, config)
    learned = said["learn"] - rows[True] * (1 + BACKWARD)
    assert learned == (rows[True] if "micro_batch_size" in settings else 0)
    others = sum(passes for name, passes in said.items() if name != "learn")
    more = rows[False] - others - learned  # reading prompts stops at the denoiser, and one row is recorded alone
    assert 0 <= more <= 18 * (2 if "guidance_scale" in settings else 1)


def test_levels_are_recorded_too(pipe):
    whole = load_concept("neon")
    config = for_concept(recipe_for(pipe, whole), whole)
    count = len(whole.source) + len(whole.target) + sum(len(level.target) for level in whole.levels)
    assert training_effort(pipe, whole, config)[0].passes == count * config.num_inference_steps


def test_a_picture_is_its_steps_and_twice_with_guidance(pipe):
    assert passes_of_picture(pipe, {}) == 8
    assert passes_of_picture(pipe, {"num_inference_steps": 3, "guidance_scale": 2.0}) == 6
    assert passes_of_picture(pipe.base, {}) == 100


def test_a_pass_is_measured_without_a_trace(pipe):
    before = pipe.base.scheduler
    assert seconds_of_pass(pipe, {}) > 0
    assert pipe.base.scheduler is before
