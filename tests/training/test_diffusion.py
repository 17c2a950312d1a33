"""A pipeline as training sees it: its arguments, what is frozen and followed, what is said of it."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import torch
from diffusers import DPMSolverMultistepScheduler

from linea_diffusion import TrainingConfig
from linea_diffusion.training.diffusion import DiffusionRun

CONFIG = TrainingConfig(num_inference_steps=3, guidance_scale=2.0, call_arguments={"width": 16})


def test_settings_come_before_what_the_user_passes_anyway(pipe):
    wrapper = SimpleNamespace(base=pipe.base, default_arguments={"num_inference_steps": 9, "height": 16, "width": 8})
    run = DiffusionRun(wrapper, CONFIG)
    assert run.pipe is pipe.base
    assert run.arguments == {
        "num_inference_steps": 3, "guidance_scale": 2.0, "height": 16, "width": 16, "output_type": "latent",
    }  # fmt: skip


def test_it_is_frozen_and_followed_within_the_context(pipe):
    run = DiffusionRun(pipe.base, CONFIG)
    weights = [parameter for model in (pipe.unet, pipe.text_encoder) for parameter in model.parameters()]
    wanted = [parameter.requires_grad for parameter in weights]
    with run.frozen(), torch.no_grad():
        assert not any(parameter.requires_grad for parameter in weights)
        run.forward(["a red heart"], [0])
        assert (run.schedule.index, run.schedule.total) == (3, 3)
    assert [parameter.requires_grad for parameter in weights] == wanted


def test_masks_of_texts_are_known_where_they_are_asked_for(pipe):
    for pooling, known in (("masked-mean", True), ("mean", False)):
        run = DiffusionRun(pipe.base, TrainingConfig(pooling=pooling, num_inference_steps=1))
        with run.frozen(), torch.no_grad():
            run.forward(["a red heart"], [0])
            assert (run.text_mask("text_encoder.encoder.layers.0") is not None) == known
            assert run.text_mask("unet.mid_block") is None


def test_its_denoiser_runs_once_a_step_and_maps_say_its_name(pipe):
    run = DiffusionRun(pipe, CONFIG)
    assert run.segments() == [pipe.unet]
    assert run.device == pipe.base.device
    assert run.facts().as_metadata() == {"base_model": "shapeland-unet", "base_class": "StableDiffusionPipeline"}
    assert run.identity().keys() == {"dtype", "weights", "libraries"}


def test_no_gradient_stays_with_schedulers_that_remember_predictions(pipe, short_maps):
    solver = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    own, pipe.base.scheduler = pipe.base.scheduler, solver
    try:
        run = DiffusionRun(pipe.base, CONFIG)
        with run.frozen(), run.steered((1.0 * short_maps).requires_grad_(), 1.0), torch.enable_grad():
            run.forward(["a red heart"], [0])
            assert solver.model_outputs[-1].requires_grad
        copy.deepcopy(solver)
    finally:
        pipe.base.scheduler = own
