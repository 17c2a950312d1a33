"""What diffusers' own ``custom_pipeline=`` loads from ``pipelines/``.

Evidence: the wrapper of the pipeline that diffusers loads without it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler

from linea_diffusion import LineaError, LinEASDiffusionPipeline
from linea_diffusion.shapeland import MODELS

from ..conftest import seeded
from ..zoo.cases import CASES
from ..zoo.checks import Subject

FOLDER = Path(__file__).parents[2] / "pipelines" / "lineas"
SETTINGS = {"num_inference_steps": 8, "guidance_scale": 1.0, "output_type": "np"}


def load(folder, **kwargs):
    pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=str(FOLDER), trust_remote_code=True, **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_custom_pipeline_steers_as_the_wrapper_does(pipe, random_maps, tmp_path):
    random_maps.save_pretrained(tmp_path / "maps")
    custom = load(MODELS["shapeland-unet"], dtype=torch.float32)
    plain = custom("a red heart", generator=seeded(), **SETTINGS).images
    custom.load_steering(tmp_path / "maps")
    pipe.load_steering(random_maps)
    for strength in (0.0, 0.7):
        ours = custom("a red heart", strength=strength, generator=seeded(), **SETTINGS).images
        wrapped = pipe("a red heart", strength=strength, generator=seeded(), **SETTINGS).images
        assert (ours == wrapped).all()
        assert (np.abs(ours - plain).max() > 0.05) == (strength > 0)
    custom.unload_steering()
    assert (custom("a red heart", generator=seeded(), **SETTINGS).images == plain).all()


@pytest.mark.parametrize("key", ["stable-diffusion-xl", "stable-diffusion-3", "flux", "stable-diffusion-controlnet"])
def test_every_class_is_loaded_as_itself(key, tmp_path):
    subject = Subject(CASES[key])
    subject.pipe.base.save_pretrained(tmp_path)
    subject.pipe = load(tmp_path)
    assert isinstance(subject.pipe, LinEASDiffusionPipeline)
    assert type(subject.pipe.base) is type(DiffusionPipeline.from_pretrained(tmp_path))
    assert (subject.render(strength=None) == subject.plain).all()
    subject.pipe.load_steering(subject.maps)
    assert np.abs(subject.render(strength=0.7) - subject.plain).max() > 1e-3


def test_the_dial_has_all_its_methods(random_maps):
    custom = load(MODELS["shapeland-unet"], dtype=torch.float32)

    def picture(**kwargs):
        return custom("a red heart", generator=seeded(), **SETTINGS, **kwargs).images

    plain = picture()
    custom.load_steering(random_maps, "neon")
    steered = picture(strength=0.7)
    custom.set_steering("neon", 0.7)
    assert custom.get_list_steering() == ["neon"]
    assert custom.get_active_steering() == {"neon": pytest.approx(0.7)}
    assert (picture() == steered).all()
    custom.disable_steering()
    assert (picture() == plain).all()
    custom.enable_steering()
    custom.fuse_steering(0.7)
    np.testing.assert_allclose(picture(), steered, atol=1e-4)
    custom.unfuse_steering()
    assert (picture(strength=0.0) == plain).all()


def test_parts_and_settings_are_given_as_to_any_class():
    scheduler = EulerDiscreteScheduler(steps_offset=1)
    custom = load(MODELS["shapeland-unet"], scheduler=scheduler, vae=None, requires_safety_checker=False)
    plain = DiffusionPipeline.from_pretrained(
        MODELS["shapeland-unet"], scheduler=scheduler, vae=None, requires_safety_checker=False
    )
    assert custom.scheduler is scheduler
    assert custom.vae is None
    assert dict(custom.config) == dict(plain.config)


def test_an_unknown_class_is_named(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "NoSuchPipeline", "_diffusers_version": "0"}))
    with pytest.raises(LineaError, match="NoSuchPipeline"):
        load(tmp_path)
