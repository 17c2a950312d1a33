"""Helios: a video model that makes its frames chunk by chunk, in one stage or as a pyramid of resolutions."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKLWan,
    HeliosPipeline,
    HeliosPyramidPipeline,
    HeliosScheduler,
    HeliosTransformer3DModel,
)

from .case import Case
from .parts import louder, seeded, umt5_encoder
from .words import t5_tokenizer

_CHANNELS = 4


def _autoencoder() -> AutoencoderKLWan:
    """Wan's autoencoder with two levels: two by two pixels and two frames per latent one."""
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=_CHANNELS,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[0.0] * _CHANNELS,
        latents_std=[1.0] * _CHANNELS,
        scale_factor_temporal=2,
        scale_factor_spatial=2,
    )


def _parts(scheduler: HeliosScheduler) -> dict[str, Any]:
    """The components of Helios."""
    transformer = HeliosTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=_CHANNELS,
        out_channels=_CHANNELS,
        text_dim=32,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        rope_dim=(4, 4, 4),
    )
    return {
        "tokenizer": t5_tokenizer(),
        "text_encoder": umt5_encoder(),
        "vae": _autoencoder(),
        "scheduler": scheduler,
        "transformer": louder(transformer, 2.0),
    }


@seeded
def _helios() -> HeliosPipeline:
    return HeliosPipeline(**_parts(HeliosScheduler(stages=1, stage_range=[0, 1], use_dynamic_shifting=True)))


@seeded
def _pyramid() -> HeliosPyramidPipeline:
    scheduler = HeliosScheduler(stages=2, stage_range=[0, 0.5, 1], gamma=0.3, use_dynamic_shifting=True)
    return HeliosPyramidPipeline(**_parts(scheduler))


# What comes back are videos, as `.frames`: an array of pictures per prompt, whose first one serves as the picture.
_ONE_CHUNK = {"height": 16, "width": 16, "num_frames": 1, "num_latent_frames_per_chunk": 2, "max_sequence_length": 32}

# The pyramid draws the noise between its stages for all rows from the first generator alone: a row of a batch is not
# the row by itself. The scheduler's default gamma of 1/3 makes that noise's covariance singular, which fails on a CPU.
CASES: list[Case] = [
    Case("helios", _helios, {**_ONE_CHUNK, "num_inference_steps": 2}),
    Case("helios-pyramid", _pyramid, {**_ONE_CHUNK, "pyramid_num_inference_steps_list": [2, 2]}),
]
