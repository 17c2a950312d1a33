"""Base pipelines from folders, checkpoint files and names: what loads, and what is said of what does not."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from linea_diffusion import LineaError, LinEASDiffusionPipeline, SteeringMaps
from linea_diffusion.shapeland import MODELS

from ..conftest import seeded

FOLDER = MODELS["shapeland-unet"]
HALF, BFLOAT = torch.float16, torch.bfloat16
load = LinEASDiffusionPipeline.from_pretrained


def _dtypes(pipe) -> tuple[torch.dtype, ...]:
    return pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"torch_dtype": HALF}, (HALF, HALF, HALF)),
        ({"dtype": {"unet": BFLOAT, "default": HALF}}, (BFLOAT, HALF, HALF)),
        ({"torch_dtype": {"vae": BFLOAT}}, (torch.float32, BFLOAT, torch.float32)),
    ],
)
def test_dtypes_as_diffusers_takes_them(arguments, expected):
    assert _dtypes(load("shapeland-unet", **arguments)) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": HALF, "torch_dtype": HALF}, "both dtype and torch_dtype"),
        ({"dtype": "float16"}, "dtype 'float16': expected a floating-point one"),
        ({"torch_dtype": torch.int8}, "dtype torch.int8"),
        ({"dtype": {"vae": 16}}, "dtype 16"),
        ({"dtype": {"unte": HALF}}, "dtype for 'unte': .* nearest: unet"),
        ({"variant": "fp16"}, "variant 'fp16', which it does not have: expected variant left out"),
        ({"text_encoder": 5}, "which is there but does not load as asked: 5 is of type"),
    ],
)
def test_what_is_wrong_is_not_the_models_name(arguments, message):
    with pytest.raises(LineaError, match=message) as caught:
        load("shapeland-unet", **arguments)
    assert "Hub id" not in str(caught.value)


def test_another_variant_is_named(tmp_path):
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.half.safetensors"))
    with pytest.raises(LineaError, match="expected one of half, or none"):
        load(tmp_path, variant="fp16")
    assert load(tmp_path, variant="half").unet.dtype == torch.float32


def test_places_without_a_model(tmp_path):
    with pytest.raises(LineaError, match=r"a folder without a model_index.json"):
        load(tmp_path)
    with pytest.raises(LineaError, match="no such file: expected a checkpoint"):
        load("nothing.safetensors")
    with pytest.raises(LineaError, match="no such folder"):
        load(tmp_path / "nothing")


@pytest.fixture
def checkpoint(loaded_pipe, tmp_path):
    """The denoiser of the embedded pipeline in one file."""
    save_file(loaded_pipe.unet.state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("load_file", [load, LinEASDiffusionPipeline.from_single_file])
def test_a_single_file_is_the_model_that_was_saved(pipe, checkpoint, load_file):
    arguments = {"vae": pipe.vae, "text_encoder": pipe.text_encoder, "config": FOLDER}
    loaded = load_file(checkpoint, torch_dtype=torch.float32, **arguments)
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded.base, StableDiffusionPipeline)
    settings = {"num_inference_steps": 2, "guidance_scale": 1.0, "output_type": "np"}
    one, other = (p("a red heart", generator=seeded(), **settings).images for p in (pipe, loaded))
    np.testing.assert_array_equal(one, other)


def test_a_single_file_that_does_not_load_says_what_is_missing(checkpoint, loaded_pipe):
    with pytest.raises(LineaError, match="without a configuration of its model"):
        load(checkpoint, config=checkpoint.parent / "nothing")
    with pytest.raises(LineaError, match=r"Failed to load CLIPTextModel.*give what it is without"):
        load(checkpoint, config=FOLDER, vae=loaded_pipe.vae)
    with pytest.raises(LineaError, match="expected one dtype"):
        load(checkpoint, dtype={"vae": HALF})
    checkpoint.write_bytes(b"no tensors")
    with pytest.raises(LineaError, match=r"model.safetensors"):
        load(checkpoint)


def test_the_command_line_takes_the_configuration_beside_the_file(linea, checkpoint, loaded_pipe, monkeypatch):
    requests = []

    def from_single_file(cls, file, **arguments):
        requests.append((file, arguments["config"], arguments["dtype"]))
        return loaded_pipe.base

    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", classmethod(from_single_file))
    shutil.copy(FOLDER / "model_index.json", checkpoint.parent)
    name, out = loaded_pipe.base.config._name_or_path, checkpoint.parent / "a.png"
    try:
        code, _, _ = linea("generate", "x", "--model", checkpoint, "--steps", 1, "--guidance", 1, "--out", out)
        assert code == 0
        assert requests == [(str(checkpoint), str(checkpoint.parent), torch.float32)]
        assert out.is_file()
    finally:
        loaded_pipe.base.register_to_config(_name_or_path=name)
        loaded_pipe.set_progress_bar_config(disable=True)


def test_maps_are_called_by_their_concept_and_found_by_their_folder(pipe, random_maps, tmp_path):
    SteeringMaps.of(dict(random_maps.named_maps()), {"concept": "mosaic"}).save_pretrained(tmp_path / "tiles")
    assert pipe.load_steering(tmp_path / "tiles") == "mosaic"
    assert pipe.load_steering(tmp_path / "tiles") == "mosaic"  # the same maps again are no others
    assert pipe.load_steering(random_maps, "tiles of mine") == "tiles of mine"
    pipe.unload_steering("tiles of mine")
    few = {"num_inference_steps": 1, "output_type": "latent"}
    by_folder, by_concept = (
        pipe("a heart", strength={name: 0.7}, generator=seeded(), **few).images for name in ("tiles", "mosaic")
    )
    assert torch.equal(by_folder, by_concept)
    pipe.set_steering("tiles", 0.5)
    assert pipe.get_active_steering() == {"mosaic": 0.5}


def test_a_used_name_is_not_taken_in_silence(pipe, random_maps):
    pipe.load_steering(random_maps, "neon")
    with pytest.raises(
        LineaError, match=r"got maps for the adapter 'neon'.*expected another adapter_name=, or replace="
    ):
        pipe.load_steering(-1.0 * random_maps, "neon")
    assert pipe.steering["neon"] is random_maps
    pipe.load_steering(-1.0 * random_maps, "neon", replace=True)
    assert pipe.steering["neon"] is not random_maps
