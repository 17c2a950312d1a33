"""What diffusers' own ``custom_pipeline=`` loads from ``pipelines/``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

from linea_diffusion.shapeland import MODELS

from .conftest import seeded

FOLDER = Path(__file__).parent.parent / "pipelines" / "lineas"


def test_custom_pipeline_steers_as_the_wrapper_does(pipe, random_maps, tmp_path):
    random_maps.save_pretrained(tmp_path / "maps")
    custom = DiffusionPipeline.from_pretrained(
        MODELS["shapeland-unet"], custom_pipeline=str(FOLDER), trust_remote_code=True, dtype=torch.float32
    )
    custom.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 8, "guidance_scale": 1.0, "output_type": "np"}
    plain = custom("a red heart", generator=seeded(), **settings).images
    custom.load_steering(tmp_path / "maps")
    pipe.load_steering(random_maps)
    for strength in (0.0, 0.7):
        ours = custom("a red heart", strength=strength, generator=seeded(), **settings).images
        wrapped = pipe("a red heart", strength=strength, generator=seeded(), **settings).images
        assert (ours == wrapped).all()
        assert (np.abs(ours - plain).max() > 0.05) == (strength > 0)
    custom.unload_steering()
    assert (custom("a red heart", generator=seeded(), **settings).images == plain).all()
