"""A shared model of two random styles on the embedded pipeline, whose pictures take two steps."""

from __future__ import annotations

import pytest

from linea_diffusion import LinEASDiffusionPipeline
from linea_diffusion.studio.workbench import SharedModel, Workbench


def model_of(loaded_pipe, maps, folder, **settings) -> SharedModel:
    pipe = LinEASDiffusionPipeline(loaded_pipe.base)
    pipe.load_steering(maps, "one")
    pipe.load_steering(-0.5 * maps, "two")
    return SharedModel(pipe, folder, {"num_inference_steps": 2, "guidance_scale": 1.0}, **settings)


@pytest.fixture
def model(loaded_pipe, random_maps, tmp_path):
    return model_of(loaded_pipe, random_maps, tmp_path)


@pytest.fixture
def bench(model):
    made = Workbench(model)
    yield made
    made.close()
