"""Diffusion transformers with one text encoder each: AuraFlow and CogView 3."""

from __future__ import annotations

from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
)

from .case import Case
from .parts import flow_scheduler, kl_autoencoder, louder, seeded, t5_encoder, umt5_encoder
from .words import t5_tokenizer


@seeded
def _auraflow() -> AuraFlowPipeline:
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pos_embed_max_size=64,
    )
    return AuraFlowPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=umt5_encoder(),
        vae=kl_autoencoder(),
        transformer=louder(transformer, 2.0),
        scheduler=flow_scheduler(shift=1.73),
    )


@seeded
def _cogview3() -> CogView3PlusPipeline:
    transformer = CogView3PlusTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        text_embed_dim=32,
        time_embed_dim=32,
        condition_dim=8,
        pos_embed_max_size=8,
        sample_size=8,
    )
    return CogView3PlusPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5_encoder(),
        vae=kl_autoencoder(),
        transformer=louder(transformer, 2.0),
        scheduler=CogVideoXDDIMScheduler(clip_sample=False),
    )


_TWO_STEPS = {"num_inference_steps": 2, "height": 16, "width": 16, "max_sequence_length": 32}

CASES: list[Case] = [Case("auraflow", _auraflow, _TWO_STEPS), Case("cogview3", _cogview3, _TWO_STEPS)]
