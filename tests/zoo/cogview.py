"""CogView 4, and CogView 4 with control pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import CogView4ControlPipeline, CogView4Pipeline, CogView4Transformer2DModel

from .case import Case
from .llm_parts import WIDTH, glm, louder
from .llm_words import glm_tokenizer
from .parts import flow_scheduler, kl_autoencoder, pictures, seeded

ARGUMENTS = {"height": 16, "width": 16, "num_inference_steps": 2, "max_sequence_length": 64}


def cogview_parts(in_channels: int = 4) -> dict[str, Any]:
    """The components of CogView 4; a transformer that also reads a control picture has twice the channels."""
    denoiser = CogView4Transformer2DModel(
        in_channels=in_channels,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        text_embed_dim=WIDTH,
        time_embed_dim=16,
        condition_dim=8,
        sample_size=8,
        rope_axes_dim=(16, 16),
    )
    return {
        "tokenizer": glm_tokenizer(),
        "text_encoder": glm(),
        "vae": kl_autoencoder(),
        "transformer": louder(denoiser),
        "scheduler": flow_scheduler(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75),
    }


@seeded
def cogview4() -> CogView4Pipeline:
    """CogView 4: guidance takes a second call of the transformer."""
    return CogView4Pipeline(**cogview_parts())


@seeded
def cogview4_control() -> CogView4ControlPipeline:
    """CogView 4 whose transformer reads a control picture next to the latents."""
    return CogView4ControlPipeline(**cogview_parts(8))


def controls(count: int) -> Mapping[str, Any]:
    """A control picture per picture."""
    return {"control_image": pictures(count)}


# Prompts are padded to the next 16 tokens of the batch's longest, which the text encoder reads as if it were text.
CASES = [
    Case("cogview4", cogview4, ARGUMENTS),
    Case("cogview4-control", cogview4_control, ARGUMENTS, controls),
]
