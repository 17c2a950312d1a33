"""Stable Diffusion 3, with perturbed attention and with a ControlNet."""

from __future__ import annotations

from typing import Any

from diffusers import (
    SD3ControlNetModel,
    SD3Transformer2DModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3PAGPipeline,
    StableDiffusion3Pipeline,
)

from .case import Case
from .parts import flow_autoencoder, flow_scheduler, pictures, projected_clip_encoder, seeded, t5_encoder
from .words import clip_tokenizer, t5_tokenizer

_SIZES = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 64,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 64,
    "pos_embed_max_size": 8,
}


def _parts() -> dict[str, Any]:
    """The components of Stable Diffusion 3: two CLIP encoders side by side, padded to the width of T5."""
    return {
        "transformer": SD3Transformer2DModel(**_SIZES, dual_attention_layers=(0,), qk_norm="rms_norm"),
        "scheduler": flow_scheduler(shift=3.0),
        "vae": flow_autoencoder(),
        "text_encoder": projected_clip_encoder(),
        "tokenizer": clip_tokenizer(),
        "text_encoder_2": projected_clip_encoder(),
        "tokenizer_2": clip_tokenizer(),
        "text_encoder_3": t5_encoder(64),
        "tokenizer_3": t5_tokenizer(),
    }


@seeded
def _plain() -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline(**_parts())


@seeded
def _perturbed() -> StableDiffusion3PAGPipeline:
    return StableDiffusion3PAGPipeline(**_parts())


@seeded
def _controlled() -> StableDiffusion3ControlNetPipeline:
    return StableDiffusion3ControlNetPipeline(**_parts(), controlnet=SD3ControlNetModel(**_SIZES | {"num_layers": 1}))


_TWO_STEPS = {"num_inference_steps": 2, "height": 16, "width": 16, "max_sequence_length": 32}

CASES: list[Case] = [
    Case("stable-diffusion-3", _plain, _TWO_STEPS),
    Case("stable-diffusion-3-pag", _perturbed, _TWO_STEPS),
    Case(
        "stable-diffusion-3-controlnet",
        _controlled,
        _TWO_STEPS,
        lambda count: {"control_image": pictures(count)},
    ),
]
