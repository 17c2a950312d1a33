"""Steering beside all else that diffusers does to a pipeline: IP-Adapter, schedulers, callbacks, outputs, from_pipe.

Evidence: the plain pipeline with the same feature, bit for bit at strength 0; at 0.7 the formula in hooks put by hand.
LoRA, memory and state are in files of their own.
"""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionImg2ImgPipeline
from diffusers.models.embeddings import ImageProjection
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from linea_diffusion import LinEASDiffusionPipeline, SteeringMaps

from ..citizen import STEPS, by_hand, change, check, fresh, maps_for, render, traces
from ..conftest import seeded
from ..zoo.cases import CASES
from ..zoo.checks import Subject
from ..zoo.parts import awaken, pictures


@pytest.fixture
def fresh_pipe() -> LinEASDiffusionPipeline:
    """An embedded pipeline of this test's own, that it may change."""
    return fresh()


@pytest.fixture(scope="module")
def maps(loaded_pipe) -> SteeringMaps:
    """Random maps of attention, norms, linears and convolutions."""
    return maps_for(loaded_pipe)


# --- IP-Adapter


@pytest.fixture
def imaged() -> tuple[Subject, dict]:
    """A tiny Stable Diffusion with an IP-Adapter, and its picture."""
    subject = Subject(CASES["stable-diffusion"])
    base = subject.pipe.base
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(**sizes, image_size=16, patch_size=8, projection_dim=12)
        )
        base.register_modules(
            image_encoder=encoder.eval(), feature_extractor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)
        )
        base.load_ip_adapter(_ip_weights(base.unet), subfolder="", weight_name="", image_encoder_folder=None)
    return subject, {"ip_adapter_image": pictures(1)[0]}


def _ip_weights(unet) -> dict[str, dict[str, torch.Tensor]]:
    """IP-Adapter weights in the published layout, random."""
    width = unet.config.cross_attention_dim
    projection = ImageProjection(image_embed_dim=12, cross_attention_dim=width, num_image_text_embeds=4)
    state = {key.replace("image_embeds", "proj"): value for key, value in projection.state_dict().items()}
    weights = {}
    for index, name in enumerate(name for name in unet.attn_processors if name.endswith("attn2.processor")):
        inner = unet.get_submodule(name.removesuffix(".processor")).inner_dim
        for letter in "kv":
            weights[f"{2 * index + 1}.to_{letter}_ip.weight"] = torch.randn(inner, width)
    return {"image_proj": state, "ip_adapter": weights}


def test_ip_adapter_beside_steering(imaged):
    subject, picture = imaged
    pipe = subject.pipe
    settings = {**subject.case.arguments, **picture, "guidance_scale": 3.0}
    loud = check(pipe, subject.maps, **settings)
    pipe.set_ip_adapter_scale(0.1)
    quiet = check(pipe, subject.maps, **settings)
    assert change(quiet, loud) > 0.02
    row = render(pipe, strength=[0.0, 0.7], **settings)
    assert change(row[0], render(pipe.base, **settings)[0]) < 1e-4
    assert change(row[1], quiet[0]) < 1e-4
    hooks = traces(pipe)
    pipe.fuse_steering(0.7, **{**settings, "num_inference_steps": 1})
    assert change(render(pipe, **settings), quiet) < 1e-4
    pipe.unfuse_steering()
    assert traces(pipe) == hooks


def test_a_row_with_a_list_of_one_picture_for_one_ip_adapter(imaged):
    subject, picture = imaged
    settings = {**subject.case.arguments, **picture}
    row = render(subject.pipe, strength=[0.0, 0.7], **settings)
    settings["ip_adapter_image"] = [settings["ip_adapter_image"]]
    assert change(render(subject.pipe, strength=[0.0, 0.7], **settings), row) < 1e-5


@pytest.mark.parametrize("kind", ["picture", "list", "several", "embeddings"])
def test_a_row_is_the_single_calls_whatever_ip_adapters_are_given(imaged, kind):
    """Embeddings come with their negative half, (2, 1, d): two rows of one picture, which all strengths share."""
    subject, picture = imaged
    pipe, image = subject.pipe, picture["ip_adapter_image"]
    choices: dict = {"picture": image, "list": [image], "several": [pictures(2)]}
    named = {"ip_adapter_image": choices.get(kind)}
    if kind == "embeddings":
        with torch.no_grad():
            embeddings = pipe.base.prepare_ip_adapter_image_embeds(image, None, "cpu", 1, True)
        assert embeddings[0].shape[0] == 2
        named = {"ip_adapter_image_embeds": embeddings}
    named |= {**subject.case.arguments, "guidance_scale": 3.0}
    row = render(pipe, strength=[0.0, 0.5, 1.0], **named)
    for number, strength in enumerate((0.0, 0.5, 1.0)):
        assert change(row[number], render(pipe, strength=strength, **named)[0]) < 1e-4
    assert change(row[0], row[2]) > 0.02


# --- schedulers, callbacks, outputs

SCHEDULERS = (
    "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler", "HeunDiscreteScheduler", "PNDMScheduler", "LCMScheduler", "DDPMScheduler",
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny() -> Subject:
    return Subject(CASES["stable-diffusion"])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_are_swapped(tiny, name):
    pipe, present = tiny.pipe, tiny.pipe.scheduler
    settings = {**tiny.case.arguments, "num_inference_steps": 4}
    steered = render(pipe, strength=0.7, **settings)
    try:
        pipe.scheduler = getattr(diffusers, name).from_config(present.config)
        assert change(check(pipe, tiny.maps, **settings), steered) > 1e-3
    finally:
        pipe.scheduler = present


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "DEISMultistepScheduler"])
def test_schedulers_of_flows_are_swapped(fresh_pipe, maps, name):
    fresh_pipe.load_steering(maps)
    steered = render(fresh_pipe, strength=0.7)
    fresh_pipe.scheduler = getattr(diffusers, name)(use_flow_sigmas=True, prediction_type="flow_prediction")
    assert change(check(fresh_pipe, maps), steered) > 1e-3


def test_a_callback_changes_the_latents(pipe, maps):
    pipe.load_steering(maps)

    def push(base, step, timestep, arguments):
        assert base is pipe.base
        return {"latents": arguments["latents"] + (0.5 if step == 1 else 0.0)}

    pushed = check(pipe, maps, callback_on_step_end=push)
    assert change(pushed, render(pipe, strength=0.7)) > 0.05


def test_one_generator_for_each_picture(pipe, maps):
    pipe.load_steering(maps)
    several = check(pipe, maps, num_images_per_prompt=2, seeds=(3, 4))
    alone = [render(pipe, strength=0.7, seeds=[seed])[0] for seed in (3, 4)]
    assert change(several, np.stack(alone)) < 1e-4
    assert change(several[0], several[1]) > 0.05


@pytest.mark.parametrize("kind", ["pil", "np", "pt", "latent"])
def test_kinds_of_output(pipe, maps, kind):
    pipe.load_steering(maps)
    settings = {"output_type": kind, "return_dict": False}
    plain = pipe.base("a red heart", generator=seeded(), **STEPS, **settings)
    off = pipe("a red heart", generator=seeded(), strength=0.0, **STEPS, **settings)
    on = pipe("a red heart", generator=seeded(), strength=0.7, **STEPS, **settings)
    assert isinstance(on, tuple)
    assert [type(one) for one in on] == [type(one) for one in plain]
    assert type(on[0][0]) is type(plain[0][0])
    numbers = [np.asarray(output[0][0], dtype=np.float32) for output in (plain, off, on)]
    assert (numbers[0] == numbers[1]).all()
    assert change(numbers[2], numbers[0]) > 0.05
    if kind == "pil":
        expected = render(pipe, strength=0.7)[0] * 255
        assert change(numbers[2], expected) <= 0.51


def test_slices_and_tiles(fresh_pipe, maps):
    fresh_pipe.load_steering(maps)
    plain = check(fresh_pipe, maps)
    fresh_pipe.enable_attention_slicing(1)
    assert change(check(fresh_pipe, maps), plain) < 1e-4
    fresh_pipe.vae.enable_slicing()
    both = {"num_images_per_prompt": 2, "seeds": (0, 1)}
    assert change(check(fresh_pipe, maps, **both)[0], plain[0]) < 1e-4
    fresh_pipe.vae.enable_tiling()
    fresh_pipe.vae.tile_latent_min_size, fresh_pipe.vae.tile_sample_min_size = 8, 8 * fresh_pipe.vae_scale_factor
    tiled = check(fresh_pipe, maps)
    assert change(tiled, plain) > 1e-4  # seams


# --- other pipelines over the same models


def test_image_to_image_over_the_same_models(pipe, maps):
    picture = pipe("a blue fish", generator=seeded(), strength=0.0).images[0]
    plain = StableDiffusionImg2ImgPipeline.from_pipe(pipe.base)
    steered = LinEASDiffusionPipeline(plain)
    steered.load_steering(maps)
    steered.set_progress_bar_config(disable=True)
    arguments = {"image": picture, "num_inference_steps": 8, "guidance_scale": 1.0, "output_type": "np"}
    results = []
    for noise in (0.4, 0.9):
        expected = plain("a red heart", strength=noise, generator=seeded(), **arguments).images
        ours = {"denoising_strength": noise, **arguments}
        assert (steered("a red heart", strength=0.0, generator=seeded(), **ours).images == expected).all()
        results.append(steered("a red heart", strength=0.7, generator=seeded(), **ours).images)
        with by_hand(plain, maps, 0.7):
            by_hands = plain("a red heart", strength=noise, generator=seeded(), **arguments).images
        assert change(results[-1], by_hands) < 2e-5
        assert change(results[-1], expected) > 0.05
    assert change(*results) > 0.05


def test_controlnet_over_the_same_models(fresh_pipe, maps):
    network = ControlNetModel.from_unet(fresh_pipe.unet, conditioning_embedding_out_channels=(16, 16, 16))
    awaken(network)
    steered = LinEASDiffusionPipeline(StableDiffusionControlNetPipeline.from_pipe(fresh_pipe.base, controlnet=network))
    steered.load_steering(maps)
    steered.set_progress_bar_config(disable=True)
    side = fresh_pipe.unet.config.sample_size * fresh_pipe.vae_scale_factor
    controlled = check(steered, maps, image=pictures(1, side))
    fresh_pipe.load_steering(maps)
    assert change(controlled, render(fresh_pipe, strength=0.7)) > 0.02
    weak = check(steered, maps, image=pictures(1, side), controlnet_conditioning_scale=0.2)
    assert change(controlled, weak) > 0.02
