"""Qwen-Image, Qwen-Image 2.1 and Qwen-Image with a ControlNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import (
    AutoencoderKLQwenImage21,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    QwenImageControlNetModel,
    QwenImageControlNetPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from transformers import Qwen3VLForConditionalGeneration

from .case import Case
from .llm_parts import WIDTH, louder, qwen3_vl_config, qwen25_vl, qwen_autoencoder
from .llm_words import qwen3_vl_processor, qwen_tokenizer
from .parts import flow_scheduler, pictures, seeded

SIZE = {"height": 16, "width": 16}
GUIDED = {"num_inference_steps": 2, "true_cfg_scale": 4.0}
SIZES = {
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 4,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": (8, 4, 4),
}
SIZES_21 = {
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "context_in_dim": WIDTH,
    "axes_dims_rope": (8, 4, 4),
}


def qwen_parts() -> dict[str, Any]:
    """The components of Qwen-Image."""
    return {
        "scheduler": flow_scheduler(),
        "vae": qwen_autoencoder(),
        "text_encoder": qwen25_vl(),
        "tokenizer": qwen_tokenizer(),
        "transformer": louder(QwenImageTransformer2DModel(num_layers=2, **SIZES)),
    }


@seeded
def qwen_image() -> QwenImagePipeline:
    """Qwen-Image, not distilled: guidance takes a second call of the transformer."""
    return QwenImagePipeline(**qwen_parts())


@seeded
def qwen_controlnet() -> QwenImageControlNetPipeline:
    """Qwen-Image with a ControlNet of one block."""
    return QwenImageControlNetPipeline(controlnet=QwenImageControlNetModel(num_layers=1, **SIZES), **qwen_parts())


@seeded
def qwen_image_21() -> QwenImage21Pipeline:
    """Qwen-Image 2.1, whose pipeline takes it that a latent pixel covers 16 by 16 pixels."""
    return QwenImage21Pipeline(
        scheduler=flow_scheduler(),
        vae=autoencoder_21(),
        text_encoder=Qwen3VLForConditionalGeneration(qwen3_vl_config()),
        processor=qwen3_vl_processor(),
        transformer=louder(QwenImage21Transformer2DModel(**SIZES_21)),
    )


def autoencoder_21() -> AutoencoderKLQwenImage21:
    """The autoencoder of Qwen-Image 2.1: five levels, pictures with an alpha channel."""
    return AutoencoderKLQwenImage21(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def negatives(count: int) -> Mapping[str, Any]:
    """A negative prompt per picture, which turns true guidance on."""
    return {"negative_prompt": ["blurry"] * count}


def controls(count: int) -> Mapping[str, Any]:
    """A negative prompt and a control picture per picture."""
    return {**negatives(count), "control_image": pictures(count)}


# Qwen-Image 2.1 sets the picture behind the longest prompt of the batch and returns pictures with an alpha channel.
CASES = [
    Case("qwenimage", qwen_image, SIZE | GUIDED, negatives),
    Case("qwenimage21", qwen_image_21, {"height": 32, "width": 32} | GUIDED, negatives),
    Case("qwenimage-controlnet", qwen_controlnet, SIZE | GUIDED, controls),
]
