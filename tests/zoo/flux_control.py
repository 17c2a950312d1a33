"""Flux with control pictures, with a ControlNet, and Flux Kontext."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import (
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxControlPipeline,
    FluxKontextPipeline,
    FluxTransformer2DModel,
)

from .case import Case
from .llm_parts import louder
from .parts import clip_encoder, flow_autoencoder, flow_scheduler, pictures, seeded, t5_encoder
from .words import clip_tokenizer, t5_tokenizer

ARGUMENTS = {"height": 16, "width": 16, "num_inference_steps": 2, "max_sequence_length": 32}
SIZES = {
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "guidance_embeds": True,
    "axes_dims_rope": (4, 4, 8),
}


def flux_parts(in_channels: int = 16) -> dict[str, Any]:
    """The components of Flux; a transformer that also reads a control picture has twice the channels."""
    return {
        "scheduler": flow_scheduler(use_dynamic_shifting=True),
        "vae": flow_autoencoder(),
        "text_encoder": clip_encoder(),
        "tokenizer": clip_tokenizer(),
        "text_encoder_2": t5_encoder(),
        "tokenizer_2": t5_tokenizer(),
        "transformer": louder(FluxTransformer2DModel(in_channels=in_channels, out_channels=16, **SIZES)),
    }


@seeded
def flux_control() -> FluxControlPipeline:
    """Flux whose transformer reads a control picture next to the latents."""
    return FluxControlPipeline(**flux_parts(32))


@seeded
def flux_controlnet() -> FluxControlNetPipeline:
    """Flux with a ControlNet as deep as itself."""
    return FluxControlNetPipeline(controlnet=FluxControlNetModel(in_channels=16, **SIZES), **flux_parts())


@seeded
def flux_kontext() -> FluxKontextPipeline:
    """Flux Kontext, with or without a picture to change."""
    return FluxKontextPipeline(**flux_parts())


def controls(count: int) -> Mapping[str, Any]:
    """A control picture per picture."""
    return {"control_image": pictures(count)}


def contexts(count: int) -> Mapping[str, Any]:
    """A picture to change per picture."""
    return {"image": pictures(count)}


KONTEXT = ARGUMENTS | {"max_area": 16 * 16}
CASES = [
    Case("flux-control", flux_control, ARGUMENTS, controls),
    Case("flux-controlnet", flux_controlnet, ARGUMENTS, controls),
    Case("flux-kontext", flux_kontext, KONTEXT),
    Case("flux-kontext-image", flux_kontext, KONTEXT | {"_auto_resize": False}, contexts),
]
