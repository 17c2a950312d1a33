"""Flux and Chroma: packed latents, joint attention, rotary positions."""

from __future__ import annotations

from diffusers import ChromaPipeline, ChromaTransformer2DModel, FluxPipeline, FluxTransformer2DModel

from .case import Case
from .parts import clip_encoder, flow_autoencoder, flow_scheduler, louder, seeded, t5_encoder
from .words import clip_tokenizer, t5_tokenizer

_SIZES = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "axes_dims_rope": (4, 4, 8),
}


@seeded
def _flux() -> FluxPipeline:
    transformer = FluxTransformer2DModel(**_SIZES, pooled_projection_dim=32, guidance_embeds=True)
    return FluxPipeline(
        scheduler=flow_scheduler(use_dynamic_shifting=True),
        vae=flow_autoencoder(),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_encoder(),
        tokenizer_2=t5_tokenizer(),
        transformer=louder(transformer, 2.0),
    )


@seeded
def _chroma() -> ChromaPipeline:
    transformer = ChromaTransformer2DModel(
        **_SIZES,
        approximator_num_channels=8,
        approximator_hidden_dim=32,
        approximator_layers=1,
    )
    return ChromaPipeline(
        scheduler=flow_scheduler(),
        vae=flow_autoencoder(),
        text_encoder=t5_encoder(),
        tokenizer=t5_tokenizer(),
        transformer=transformer,
    )


_TWO_STEPS = {"num_inference_steps": 2, "height": 16, "width": 16, "max_sequence_length": 32}

CASES: list[Case] = [Case("flux", _flux, _TWO_STEPS), Case("chroma", _chroma, _TWO_STEPS)]
