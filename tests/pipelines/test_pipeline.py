"""The wrapper: bit-exact at 0, one noise for a row, errors, and the base pipeline still within reach."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

from linea_diffusion import LineaError, LinEASDiffusionPipeline, StyleGrid, calibrate
from linea_diffusion.shapeland import MODELS

from ..batches import tiny_pipe
from ..conftest import seeded


def _array(pipe, *args, seed=0, **kwargs) -> np.ndarray:
    return pipe(*args, generator=seeded(seed), output_type="np", **kwargs).images


def test_plain_diffusers_loads_the_folder_and_strength_0_is_its_picture_bit_for_bit(pipe, random_maps):
    plain = StableDiffusionPipeline.from_pretrained(MODELS["shapeland-unet"])
    assert {plain.unet.dtype, plain.vae.dtype, plain.text_encoder.dtype} == {torch.float32}
    plain.set_progress_bar_config(disable=True)
    expected = _array(plain, "a red heart", num_inference_steps=8, guidance_scale=1.0)
    pipe.load_steering(random_maps)
    assert (_array(pipe, "a red heart", strength=0) == expected).all()
    assert (_array(pipe, "a red heart", strength=0.0) == expected).all()
    assert np.abs(_array(pipe, "a red heart", strength=0.5) - expected).max() > 0.05


def test_the_default_strength_is_1(pipe, random_maps):
    pipe.load_steering(random_maps)
    assert (_array(pipe, "a red heart") == _array(pipe, "a red heart", strength=1)).all()


@pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
def test_a_list_renders_one_prompt_at_each_strength_from_one_noise(pipe, random_maps, guidance_scale):
    pipe.load_steering(random_maps)
    strengths = [0, 0.4, 1.0, -0.3]
    row = _array(pipe, "a red heart", strength=strengths, guidance_scale=guidance_scale)
    alone = [_array(pipe, "a red heart", strength=s, guidance_scale=guidance_scale)[0] for s in strengths]
    np.testing.assert_allclose(row, np.stack(alone), atol=2e-3)
    assert np.abs(row[2] - row[3]).max() > 0.05


def test_a_list_without_generator_shares_one_noise_too(pipe, random_maps):
    pipe.load_steering(random_maps)
    row = pipe("a red heart", strength=[0, 0], output_type="np").images
    np.testing.assert_allclose(row[0], row[1], atol=1e-5)


def test_given_latents_are_shared_by_the_row(pipe, random_maps):
    pipe.load_steering(random_maps)
    latents = torch.randn(1, 4, 16, 16, generator=seeded(3))
    row = pipe("a red heart", strength=[0.0, 0.5], latents=latents, output_type="np").images
    alone = pipe("a red heart", strength=0.5, latents=latents, output_type="np").images
    np.testing.assert_allclose(row[1], alone[0], atol=2e-3)


def test_prompts_and_strengths_pair_up(pipe, random_maps):
    pipe.load_steering(random_maps)
    prompts, strengths = ["a red heart", "a blue fish"], [0.2, 0.8]
    generators = [seeded(1), seeded(2)]
    both = pipe(prompts, strength=strengths, generator=generators, output_type="np").images
    alone = [_array(pipe, p, seed=i, strength=s)[0] for p, s, i in zip(prompts, strengths, (1, 2), strict=True)]
    np.testing.assert_allclose(both, np.stack(alone), atol=2e-3)


def test_several_images_per_prompt_share_their_strength_and_their_noises(pipe, random_maps):
    pipe.load_steering(random_maps)
    pictures = _array(pipe, "a red heart", strength=[0.0, 0.7], num_images_per_prompt=2)
    unsteered = _array(pipe, "a red heart", strength=[0.0, 0.0], num_images_per_prompt=2)
    assert len(pictures) == 4
    np.testing.assert_allclose(pictures[:2], unsteered[:2], atol=2e-3)
    np.testing.assert_allclose(unsteered[:2], unsteered[2:], atol=1e-5)
    assert np.abs(pictures[2:] - unsteered[2:]).max(axis=(1, 2, 3)).min() > 0.05
    assert np.abs(pictures[0] - pictures[1]).max() > 0.05


def test_two_adapters_in_sum_and_in_chain(pipe, random_maps, short_maps):
    other = 8 * short_maps
    pipe.load_steering(random_maps, "first")
    pipe.load_steering(other, "second")
    assert pipe.get_list_steering() == ["first", "second"]
    strengths = {"first": 0.5, "second": 0.8}
    chained = _array(pipe, "a red heart", strength=strengths, composition="chain")
    with other.apply(pipe, 0.8), random_maps.apply(pipe, 0.5):
        expected = _array(pipe.base, "a red heart", num_inference_steps=8, guidance_scale=1.0)
    assert abs(chained - expected).max() < 1e-3
    added = _array(pipe, "a red heart", strength=strengths)
    with (0.5 * random_maps + 0.8 * other).apply(pipe, 1.0):
        expected = _array(pipe.base, "a red heart", num_inference_steps=8, guidance_scale=1.0)
    assert abs(added - expected).max() < 1e-3
    assert abs(added - chained).max() > 1e-2
    pipe.unload_steering("first")
    pipe.load_steering(random_maps, "first")  # now behind the other: the sum does not mind, the chain does
    assert abs(_array(pipe, "a red heart", strength=strengths) - added).max() < 1e-3
    assert abs(_array(pipe, "a red heart", strength=strengths, composition="chain") - chained).max() > 1e-2


def test_an_unknown_composition_is_refused(pipe, random_maps):
    pipe.load_steering(random_maps)
    with pytest.raises(LineaError, match="sum, chain"):
        pipe("a red heart", strength=0.5, composition="product")


def test_everything_of_the_base_pipeline_stays_within_reach(pipe):
    assert pipe.unet is pipe.base.unet
    scheduler = pipe.scheduler
    try:
        pipe.scheduler = EulerDiscreteScheduler()
        assert isinstance(pipe.base.scheduler, EulerDiscreteScheduler)
    finally:
        pipe.scheduler = scheduler
    defaults = pipe.default_arguments
    pipe.default_arguments = {**defaults, "num_inference_steps": 3}
    assert pipe.default_arguments["num_inference_steps"] == 3
    pipe.default_arguments = defaults
    assert not hasattr(pipe.base, "default_arguments")
    assert copy.copy(pipe).base is pipe.base
    steps = []
    pipe("a red heart", callback_on_step_end=lambda p, i, t, kwargs: steps.append(i) or kwargs)
    assert steps == list(range(8))


def test_denoising_strength_is_image_to_images_own_strength(pipe, random_maps):
    img2img = LinEASDiffusionPipeline(StableDiffusionImg2ImgPipeline.from_pipe(pipe.base))
    img2img.set_progress_bar_config(disable=True)
    img2img.load_steering(random_maps)
    image = pipe("a red heart", generator=seeded()).images[0]
    settings = {"image": image, "num_inference_steps": 8, "strength": 0.5}
    near = _array(img2img, "a red heart", denoising_strength=0.3, **settings)
    far = _array(img2img, "a red heart", denoising_strength=0.9, **settings)
    assert np.abs(near - far).max() > 0.05
    pipe.load_steering(random_maps)
    for call in (
        lambda: pipe("a red heart", denoising_strength=0.5),
        lambda: StyleGrid.render(pipe, ["a red heart"], [0.0], denoising_strength=0.5),
        lambda: calibrate(pipe, random_maps, len, ["a red heart"], denoising_strength=0.5),
    ):
        with pytest.raises(LineaError, match=r"denoising_strength=0.5, and StableDiffusionPipeline has no strength"):
            call()


def test_errors_say_what_to_do(pipe, random_maps, tmp_path):
    with pytest.raises(LineaError, match="call load_steering first"):
        pipe("a red heart", strength=0.5)
    pipe.load_steering(random_maps, "neon")
    with pytest.raises(LineaError, match="nearest: neon"):
        pipe("a red heart", strength={"neom": 1})
    with pytest.raises(LineaError, match="3 strengths and 2 prompts"):
        pipe(["a", "b"], strength=[0, 0.5, 1])
    with pytest.raises(LineaError, match="finite number"):
        pipe("a red heart", strength=float("nan"))
    pipe.load_steering(random_maps, "other")
    with pytest.raises(LineaError, match="equal lengths"):
        pipe("a", strength={"neon": [0, 1], "other": [0, 1, 2]})
    with pytest.raises(LineaError, match="expected a diffusers pipeline"):
        LinEASDiffusionPipeline("shapeland-unet")
    with pytest.raises(LineaError, match="no such folder"):
        LinEASDiffusionPipeline.from_pretrained(tmp_path / "nothing")
    with pytest.raises(LineaError, match="reachable Hub id"):
        LinEASDiffusionPipeline.from_pretrained("nobody/nothing")


def test_a_saved_base_pipeline_loads_from_its_folder(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "copy")
    copy = LinEASDiffusionPipeline.from_pretrained(tmp_path / "copy")
    copy.set_progress_bar_config(disable=True)
    expected = _array(pipe, "a red heart")
    assert (_array(copy, "a red heart", num_inference_steps=8, guidance_scale=1.0) == expected).all()


def test_saved_and_loaded_with_its_adapters(pipe, random_maps, short_maps, tmp_path):
    pipe.load_steering(random_maps, "first/one")
    pipe.load_steering(short_maps, "second")
    pipe.set_steering("second", 0.5)
    pipe.disable_steering()
    pipe.save_pretrained(tmp_path)
    pipe.enable_steering()
    loaded = LinEASDiffusionPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.get_list_steering() == ["first/one", "second"]
    assert loaded.get_active_steering() == {}
    loaded.enable_steering()
    assert loaded.get_active_steering() == pipe.get_active_steering() == {"second": 0.5}
    settings = {"num_inference_steps": 2, "guidance_scale": 1.0}
    strength = {"first/one": 0.5, "second": 1.0}
    assert (_array(loaded, "a red heart", strength=strength, **settings) == _array(
        pipe, "a red heart", strength=strength, **settings)).all()  # fmt: skip
    (tmp_path / "steering" / "adapters.json").write_text('["first/one", "second"]')  # as earlier versions wrote it
    earlier = LinEASDiffusionPipeline.from_pretrained(tmp_path)
    assert earlier.get_active_steering() == {"first/one": 1.0, "second": 1.0}
    plain = StableDiffusionPipeline.from_pretrained(tmp_path)
    plain.set_progress_bar_config(disable=True)
    assert (_array(plain, "a red heart", **settings) == _array(pipe, "a red heart", strength=0, **settings)).all()


@pytest.mark.parametrize("unet", [torch.bfloat16, torch.float32])
def test_from_pipe_leaves_the_dtypes_of_shared_models_alone(unet):
    pipe = tiny_pipe()
    pipe.to(torch.bfloat16)
    pipe.unet.to(unet)
    weights = [weight.clone() for weight in pipe.text_encoder.parameters()]
    made = LinEASDiffusionPipeline.from_pipe(pipe, StableDiffusionImg2ImgPipeline)
    assert (made.unet.dtype, made.text_encoder.dtype, made.vae.dtype) == (unet, torch.bfloat16, torch.bfloat16)
    assert all(torch.equal(*pair) for pair in zip(weights, pipe.text_encoder.parameters(), strict=True))
    LinEASDiffusionPipeline.from_pipe(pipe, StableDiffusionImg2ImgPipeline, torch_dtype=torch.float32)
    assert pipe.unet.dtype == pipe.vae.dtype == torch.float32


def test_from_pipe_shares_models_and_adapters(pipe, random_maps):
    pipe.load_steering(random_maps, "one")
    pipe.set_steering("one", 0.6)
    image = pipe("a red heart", generator=seeded(), strength=0).images[0]
    made = LinEASDiffusionPipeline.from_pipe(pipe, StableDiffusionImg2ImgPipeline)
    made.set_progress_bar_config(disable=True)
    assert isinstance(made.base, StableDiffusionImg2ImgPipeline)
    assert made.unet is pipe.unet
    assert made.get_active_steering() == {"one": pytest.approx(0.6)}
    assert made.default_arguments == pipe.default_arguments
    steered = _array(made, "a red heart", image=image)
    assert (steered == _array(made, "a red heart", image=image, strength=0.6)).all()
    assert np.abs(steered - _array(made, "a red heart", image=image, strength=0)).max() > 0.02
    made.unload_steering()
    assert pipe.get_list_steering() == ["one"]


def test_fused_models_are_not_handed_on(pipe, random_maps, tmp_path):
    pipe.load_steering(random_maps)
    pipe.fuse_steering(0.5)
    try:
        for act in (lambda: pipe.save_pretrained(tmp_path), lambda: LinEASDiffusionPipeline.from_pipe(pipe)):
            with pytest.raises(LineaError, match="unfuse_steering first"):
                act()
        with pytest.raises(LineaError, match="unfuse_steering first"):
            pipe("a red heart", strength=0.5)
        with pytest.raises(LineaError, match="unfuse_steering first"):
            pipe.fuse_steering(0.5)
    finally:
        pipe.unfuse_steering()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LineaError, match="fuse_steering first"):
        pipe.unfuse_steering()
