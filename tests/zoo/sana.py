"""Sana, and Sana with perturbed attention."""

from __future__ import annotations

from inspect import signature
from typing import Any

from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    SanaPAGPipeline,
    SanaPipeline,
    SanaTransformer2DModel,
)

from .case import Case
from .llm_parts import WIDTH, gemma2
from .llm_words import gemma_tokenizer
from .parts import flow_scheduler, seeded

INSTRUCTION = "\n".join(signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default)
ARGUMENTS = {
    "height": 32,
    "width": 32,
    "num_inference_steps": 2,
    "max_sequence_length": 32,
    "use_resolution_binning": False,
}


def sana_parts(layers: int = 1) -> dict[str, Any]:
    """The components of Sana; its instruction for the text encoder is spelled in whole words."""
    return {
        "tokenizer": gemma_tokenizer(INSTRUCTION),
        "text_encoder": gemma2(INSTRUCTION),
        "vae": autoencoder(),
        "transformer": transformer(layers),
    }


def autoencoder() -> AutoencoderDC:
    """The deep compression autoencoder with three levels: a latent pixel covers four by four pixels."""
    sides = {
        "block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
        "block_out_channels": (8, 8, 8),
        "layers_per_block": (1, 1, 1),
        "qkv_multiscales": ((), (), (5,)),
    }
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
        **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()},
    )


def transformer(layers: int) -> SanaTransformer2DModel:
    """Linear attention over latents, cross-attention to text."""
    return SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=layers,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        sample_size=8,
    )


@seeded
def sana() -> SanaPipeline:
    """Sana with its solver of second order."""
    scheduler = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    return SanaPipeline(scheduler=scheduler, **sana_parts())


@seeded
def sana_pag() -> SanaPAGPipeline:
    """Sana whose first block is perturbed."""
    return SanaPAGPipeline(
        scheduler=flow_scheduler(shift=3.0), pag_applied_layers="transformer_blocks.0", **sana_parts(2)
    )


CASES = [
    Case("sana", sana, ARGUMENTS),
    Case("sana-pag", sana_pag, ARGUMENTS),
]
