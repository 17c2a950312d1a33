"""Z-Image, with ControlNets and with condition pictures, and Ovis-Image; each reads with Qwen 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import (
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    ZImageControlNetInpaintPipeline,
    ZImageControlNetModel,
    ZImageControlNetPipeline,
    ZImageOmniPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import Qwen3Model, Siglip2ImageProcessor, Siglip2VisionConfig, Siglip2VisionModel

from .case import Case
from .llm_parts import WIDTH, louder, qwen3_config
from .llm_words import qwen_tokenizer
from .parts import flow_autoencoder, flow_scheduler, masks, pictures, seeded

ARGUMENTS = {"height": 16, "width": 16, "num_inference_steps": 2, "max_sequence_length": 64}
LAYERS = {"dim": WIDTH, "n_heads": 2, "n_kv_heads": 2, "n_refiner_layers": 1}


def zimage_parts(**options: Any) -> dict[str, Any]:
    """The components of Z-Image."""
    return {
        "scheduler": flow_scheduler(shift=3.0),
        "vae": flow_autoencoder(),
        "text_encoder": Qwen3Model(qwen3_config(3)),
        "tokenizer": qwen_tokenizer(),
        "transformer": transformer(**options),
    }


def transformer(**options: Any) -> ZImageTransformer2DModel:
    """A single stream of text and picture; its two padding tokens start without values."""
    model = ZImageTransformer2DModel(
        in_channels=4,
        n_layers=2,
        cap_feat_dim=WIDTH,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
        **LAYERS | options,
    )
    for name, parameter in model.named_parameters():
        if name.endswith("pad_token"):
            parameter.data.normal_(std=0.1)
    return louder(model)


def controlnet(channels: int) -> ZImageControlNetModel:
    """A ControlNet for the first block, which borrows the transformer's embedders."""
    return ZImageControlNetModel(
        control_layers_places=[0],
        control_refiner_layers_places=[0],
        control_in_dim=channels,
        add_control_noise_refiner="control_noise_refiner",
        **LAYERS,
    )


@seeded
def zimage() -> ZImagePipeline:
    """Z-Image."""
    return ZImagePipeline(**zimage_parts())


@seeded
def zimage_controlnet() -> ZImageControlNetPipeline:
    """Z-Image with a ControlNet of the first version."""
    return ZImageControlNetPipeline(controlnet=controlnet(4), **zimage_parts())


@seeded
def zimage_controlnet_inpaint() -> ZImageControlNetInpaintPipeline:
    """Z-Image with a ControlNet that also reads the picture to be painted over and its mask."""
    return ZImageControlNetInpaintPipeline(controlnet=controlnet(9), **zimage_parts())


@seeded
def zimage_omni() -> ZImageOmniPipeline:
    """Z-Image that may read condition pictures through SigLIP; here it gets a prompt alone."""
    vision = Siglip2VisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_patches=16, patch_size=8
    )
    return ZImageOmniPipeline(
        siglip=Siglip2VisionModel(vision),
        siglip_processor=Siglip2ImageProcessor(patch_size=8, max_num_patches=16),
        **zimage_parts(siglip_feat_dim=16),
    )


@seeded
def ovis() -> OvisImagePipeline:
    """Ovis-Image: a block of two streams and one of a single stream, like Flux."""
    denoiser = OvisImageTransformer2DModel(
        in_channels=16,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
    )
    return OvisImagePipeline(
        scheduler=flow_scheduler(use_dynamic_shifting=True),
        vae=flow_autoencoder(),
        text_encoder=Qwen3Model(qwen3_config()),
        tokenizer=qwen_tokenizer(),
        transformer=louder(denoiser),
    )


def controls(count: int) -> Mapping[str, Any]:
    """A control picture per picture."""
    return {"control_image": pictures(count)}


def repaintings(count: int) -> Mapping[str, Any]:
    """A control picture, one to be painted over and its mask per picture."""
    return {"control_image": pictures(count), "image": pictures(count), "mask_image": masks(count)}


# The Z-Image pipelines write their chat template into the list of prompts that they are given.
CASES = [
    Case("z-image", zimage, ARGUMENTS),
    Case("z-image-controlnet", zimage_controlnet, ARGUMENTS, controls),
    Case("z-image-controlnet-inpaint", zimage_controlnet_inpaint, ARGUMENTS, repaintings),
    Case("z-image-omni", zimage_omni, ARGUMENTS),
    Case("ovis", ovis, ARGUMENTS),
]
