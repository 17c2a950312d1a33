"""Numbers beyond a dtype: an error that names the activation, never a black picture."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

from linea_diffusion import LineaError, LinEASDiffusionPipeline, SteeringMaps, StyleGrid
from linea_diffusion.pipelines.rendering.render import render_prompts

from ..conftest import count_hooks, seeded

NAME = "unet.mid_block.attentions.0.transformer_blocks.0.attn2"


@pytest.fixture(scope="module")
def half():
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet", dtype=torch.float16)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe(half):
    before = count_hooks(half)
    yield half
    half.unload_steering()
    assert count_hooks(half) == before


def _maps(name: str, shift: float, features: int = 128) -> SteeringMaps:
    maps = SteeringMaps({name: features}).requires_grad_(False)
    maps.maps[name.replace(".", "/")].shift.copy_(torch.linspace(-shift, shift, features))
    return maps


def _array(pipe, **kwargs) -> np.ndarray:
    return pipe("a red heart", generator=seeded(), output_type="np", num_inference_steps=3, **kwargs).images


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_steers_with_float32_maps(pipe, random_maps, dtype):
    try:
        pipe.to(dtype=dtype)
        pipe.load_steering(random_maps)
        assert {parameter.dtype for parameter in next(iter(pipe.steering.values())).parameters()} == {torch.float32}
        picture = _array(pipe, strength=0.8)
        assert np.isfinite(picture).all()
        assert np.abs(picture - _array(pipe, strength=0)).max() > 0.05
    finally:
        pipe.to(dtype=torch.float16)


def test_an_overflow_is_named(pipe):
    pipe.load_steering(_maps(NAME, 1e6))
    generator = seeded()
    with pytest.raises(LineaError, match=rf"not finite at '{NAME}', in denoising step 1 .*float16.* 6.55e\+04"):
        pipe("a red heart", strength=1.0, generator=generator, num_inference_steps=3)
    assert np.isfinite(_array(pipe, strength=1e-3)).all()
    pipe.unload_steering()
    assert np.isfinite(_array(pipe)).all()


def test_an_overflow_in_a_layer_behind_the_map_is_named_by_the_next_one(pipe):
    first = _maps("unet.down_blocks.0.resnets.0.norm1", 6e4, 64)
    then = _maps(NAME, 0.1)
    pipe.load_steering(first + then)
    with pytest.raises(LineaError, match=rf"not finite between 'unet.*norm1' and '{NAME}'"):
        _array(pipe, strength=1.0)


def test_the_base_models_own_overflow_is_not_blamed_on_steering(pipe):
    pipe.load_steering(_maps("unet.mid_block.resnets.0.norm1", 0.1))
    weight = pipe.unet.conv_out.weight
    kept = weight.detach().clone()
    try:
        weight.data.fill_(6e4)
        with pytest.raises(LineaError, match="none at a steered activation"):
            pipe("a red heart", strength=1.0, num_inference_steps=1)
        with pytest.raises(LineaError, match=r"between 'unet.mid_block.*, in denoising step 2"):
            _array(pipe, strength=1.0)
        with pytest.warns(UserWarning, match="nothing was steered"):
            _array(pipe, strength=0.0)  # the base model's own business
    finally:
        weight.data.copy_(kept)


# --- pictures that the autoencoder or a safety checker makes black

STEPS = {"num_inference_steps": 2, "guidance_scale": 1.0}
UNSCORED = ("--clip", "none")


@pytest.fixture
def exact(loaded_pipe):
    """The embedded pipeline in float32, which is quicker here, with a small map."""
    loaded_pipe.load_steering(_maps(NAME, 0.1))
    yield loaded_pipe
    loaded_pipe.unload_steering()


@pytest.fixture
def blind(exact):
    """A pipeline whose autoencoder makes numbers of everything that are not finite."""
    bias = exact.vae.decoder.conv_out.bias
    kept = bias.detach().clone()
    bias.data.fill_(float("nan"))
    yield exact
    bias.data.copy_(kept)


def test_a_steered_picture_that_the_autoencoder_breaks_is_an_error(blind):
    with pytest.raises(LineaError, match="not finite, which vae made of finite ones; it would be black"):
        blind("a red heart", **STEPS)
    assert blind("a red heart", output_type="latent", **STEPS).images.isfinite().all()
    assert "decode" not in vars(blind.vae)


@pytest.mark.parametrize("loaded", [True, False])
def test_an_unsteered_one_is_the_base_models_and_a_warning(blind, loaded):
    if not loaded:
        blind.unload_steering()
    with pytest.warns(UserWarning, match="vae made .* nothing was steered") as notices:
        made = blind("a red heart", output_type="np", strength=0.0, **STEPS).images
    assert [one.filename for one in notices if one.category is UserWarning] == [__file__]
    assert np.isnan(made).all()


def test_grids_and_evaluations_are_never_black(blind):
    for strengths in ((0.0,), (0.0, 1.0)):
        with warnings.catch_warnings(record=True) as notices:
            warnings.simplefilter("always")
            with pytest.raises(LineaError, match="it would be black"):
                StyleGrid.render(blind, ["a red heart"], strengths, **STEPS)
        assert not [one for one in notices if "black" in str(one.message)]  # it is said once
    with pytest.raises(LineaError, match="it would be black"):
        render_prompts(blind.base, ["a red heart"], [0], **STEPS)  # as evaluate and calibrate do


def test_the_command_line_is_never_black(linea, blind, tmp_path):
    blind.steering["default"].save_pretrained(tmp_path / "maps")
    blind.unload_steering()
    blind.save_pretrained(tmp_path / "blind")
    arguments = ["--model", tmp_path / "blind", "--steps", 1]
    for command in (
        ["generate", "a heart", "--out", tmp_path / "out" / "a.png"],
        ["grid", "a heart", "--steering", tmp_path / "maps", "--strengths", 0, "--out", tmp_path / "out", *UNSCORED],
    ):
        code, _, error = linea(*command, *arguments)
        assert code == 2, command
        assert error.splitlines()[-1].startswith("linea: got a picture with numbers that are not finite"), command
        assert not list(tmp_path.rglob("*.png")), command


def test_pictures_that_a_safety_checker_hides_are_told(exact, monkeypatch):
    monkeypatch.setattr(exact.base, "run_safety_checker", lambda images, *_: (0 * images, [False, True, False]))
    prompts = ["a red heart", "a blue fish", "a star"]
    settings = {"num_inference_steps": 1, "guidance_scale": 1.0}
    # a call says it as diffusers does
    assert exact(prompts, **settings).nsfw_content_detected == [False, True, False]
    with pytest.raises(LineaError, match=r"picture of 'a blue fish' black from .* safety checker"):
        StyleGrid.render(exact, prompts, [0.0], batch_size=3, **settings)
    with pytest.raises(LineaError, match="picture of 'a blue fish' black"):
        render_prompts(exact.base, prompts, [0, 1, 2], **settings)


@pytest.mark.parametrize(
    ("bins", "window"),
    [(1, (0.6, 1.0)), (1, (0.0, 0.6)), (3, (0.0, 1.0)), (3, (0.6, 1.0))],
    ids=["late", "early", "bins", "bins, late"],
)
def test_the_culprit_is_found_in_the_step_in_which_it_breaks(pipe, bins, window):
    """Three steps. With bins, only the map of the last one is too large."""
    maps = SteeringMaps({NAME: (bins, 128)}).requires_grad_(False)
    maps.maps[NAME.replace(".", "/")].shift[-1] = 1e6
    pipe.load_steering(maps)
    step = 1 if window[0] == 0 and bins == 1 else 3
    with pytest.raises(LineaError, match=rf"not finite at '{NAME}', in denoising step {step} "):
        _array(pipe, strength=1.0, steering_start=window[0], steering_end=window[1])


def test_an_overflow_in_image_to_image_names_the_step_of_the_whole_schedule(half):
    base = StableDiffusionImg2ImgPipeline(
        **{**half.base.components, "scheduler": DDIMScheduler()}, requires_safety_checker=False
    )
    base.set_progress_bar_config(disable=True)
    pipe = LinEASDiffusionPipeline(base)
    pipe.load_steering(_maps(NAME, 1e6))
    picture = torch.zeros(1, 3, 32, 32, dtype=torch.float16)
    with pytest.raises(LineaError, match=rf"'{NAME}', in denoising step 4 "):
        pipe("a red heart", picture, denoising_strength=0.5, num_inference_steps=4, steering_start=0.7)
