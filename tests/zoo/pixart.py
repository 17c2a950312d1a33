"""PixArt Alpha and Sigma: a diffusion transformer with cross-attention to T5."""

from __future__ import annotations

from typing import Any

from diffusers import (
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPAGPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
)

from .case import Case
from .parts import kl_autoencoder, seeded, t5_encoder
from .words import t5_tokenizer


def _parts() -> dict[str, Any]:
    """The components of PixArt."""
    transformer = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_channels=32,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=32,
        use_additional_conditions=False,
    )
    return {
        "tokenizer": t5_tokenizer(),
        "text_encoder": t5_encoder(),
        "vae": kl_autoencoder(),
        "transformer": transformer,
        "scheduler": DPMSolverMultistepScheduler(),
    }


def _pixart(pipeline_class: type) -> Any:
    return seeded(lambda: pipeline_class(**_parts()))


# Sizes other than those of the published checkpoints go without resolution bins.
_TWO_STEPS = {
    "num_inference_steps": 2,
    "height": 16,
    "width": 16,
    "max_sequence_length": 32,
    "use_resolution_binning": False,
    "clean_caption": False,
}

CASES: list[Case] = [
    Case("pixart-alpha", _pixart(PixArtAlphaPipeline), _TWO_STEPS),
    Case("pixart-sigma", _pixart(PixArtSigmaPipeline), _TWO_STEPS),
    Case("pixart-sigma-pag", _pixart(PixArtSigmaPAGPipeline), _TWO_STEPS),
]
