"""Lumina-Next and Lumina 2; both pipelines take it that a latent pixel covers 8 by 8 pixels."""

from __future__ import annotations

from diffusers import (
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    LuminaNextDiT2DModel,
    LuminaPipeline,
)

from .case import Case
from .llm_parts import WIDTH, gemma, gemma2, louder
from .llm_words import gemma_tokenizer
from .parts import flow_scheduler, kl_autoencoder, seeded


@seeded
def lumina() -> LuminaPipeline:
    """Lumina-Next: rows of the prompt come before those without it."""
    denoiser = LuminaNextDiT2DModel(
        sample_size=4,
        in_channels=4,
        hidden_size=32,
        num_layers=2,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        cross_attention_dim=WIDTH,
        learn_sigma=True,
    )
    return LuminaPipeline(
        transformer=louder(denoiser),
        scheduler=flow_scheduler(),
        vae=kl_autoencoder(levels=4),
        text_encoder=gemma(),
        tokenizer=gemma_tokenizer(),
    )


@seeded
def lumina2() -> Lumina2Pipeline:
    """Lumina 2: a single stream of text and picture; guidance takes a second call of the transformer."""
    denoiser = Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=4,
        hidden_size=32,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(8, 4, 4),
        axes_lens=(256, 32, 32),
        cap_feat_dim=WIDTH,
    )
    return Lumina2Pipeline(
        transformer=louder(denoiser),
        scheduler=flow_scheduler(),
        vae=kl_autoencoder(levels=4, shift_factor=0.06),
        text_encoder=gemma2(),
        tokenizer=gemma_tokenizer(),
    )


ARGUMENTS = {"height": 32, "width": 32, "num_inference_steps": 2}
CASES = [
    Case("lumina", lumina, ARGUMENTS | {"clean_caption": False}),
    Case("lumina2", lumina2, ARGUMENTS | {"max_sequence_length": 64}),
]
