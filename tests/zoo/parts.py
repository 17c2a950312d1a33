"""What several tiny pipelines share: encoders of text, autoencoders, pictures to start from, and fixed weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from PIL import Image
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from .words import clip_tokenizer, t5_tokenizer

_AWAKE = 0.1
_LOG_VARIANCE = -60.0


def seeded(build: Callable[[], Any]) -> Callable[[], Any]:
    """Make a builder of pipelines give the same awake, silent pipeline every time and leave global randomness alone."""

    @wraps(build)
    def built() -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            pipe = build()
            for name, component in sorted(pipe.components.items()):
                if isinstance(component, nn.Module):
                    component.eval().requires_grad_(False)
                    awaken(component, seed=len(name))
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return built


def awaken(module: nn.Module, seed: int = 0) -> None:
    """Fill parameters that start at zero, which would leave parts of the network deaf, with small random numbers."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if not parameter.any():
            parameter.data.copy_(_AWAKE * torch.randn(parameter.shape, generator=generator))


def louder(network: nn.Module, gain: float, only: str = "") -> nn.Module:
    """Scale up the matrices (whose names contain ``only``) of a network that lets too little of the text through."""
    for name, parameter in network.named_parameters():
        if parameter.dim() == 2 and only in name:
            parameter.data *= gain
    return network


def clip_config(width: int = 32, projection: int = 32, activation: str = "quick_gelu") -> CLIPTextConfig:
    """CLIP's text tower at tiny size, for the vocabulary of our CLIP tokenizer."""
    tokenizer = clip_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=projection,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def clip_encoder(width: int = 32) -> CLIPTextModel:
    """CLIP's text tower without a projection, as in Stable Diffusion 1."""
    return CLIPTextModel(clip_config(width))


def projected_clip_encoder(width: int = 32, projection: int = 32) -> CLIPTextModelWithProjection:
    """CLIP's text tower with a projection of the pooled state, as in SDXL's second encoder."""
    return CLIPTextModelWithProjection(clip_config(width, projection, "gelu"))


def t5_encoder(width: int = 32) -> T5EncoderModel:
    """T5's encoder with a gated feed-forward, for the vocabulary of our T5 tokenizer."""
    return T5EncoderModel(T5Config(**_t5_sizes(width)))


def umt5_encoder(width: int = 32) -> UMT5EncoderModel:
    """UMT5's encoder, for the vocabulary of our T5 tokenizer."""
    return UMT5EncoderModel(UMT5Config(**_t5_sizes(width)))


def kl_autoencoder(latent_channels: int = 4, levels: int = 2, **options: Any) -> AutoencoderKL:
    """Stable Diffusion's autoencoder, which halves the picture between levels and encodes it almost without noise."""
    autoencoder = AutoencoderKL(
        block_out_channels=(8, *[16] * (levels - 1)),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=16,
        force_upcast=False,
        **options,
    )
    last = autoencoder.quant_conv or autoencoder.encoder.conv_out
    last.bias.data[latent_channels:] = _LOG_VARIANCE
    return autoencoder


def flow_autoencoder(latent_channels: int = 4) -> AutoencoderKL:
    """The autoencoder of Stable Diffusion 3 and Flux: latents with an offset and without (post) quant convolutions."""
    return kl_autoencoder(
        latent_channels,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.5,
        shift_factor=0.06,
    )


def flow_scheduler(**options: Any) -> FlowMatchEulerDiscreteScheduler:
    """Euler steps along a rectified flow."""
    return FlowMatchEulerDiscreteScheduler(**options)


def pictures(count: int, size: int = 16) -> list[Image.Image]:
    """Copies of one colored picture to start from or to be controlled by."""
    ramp = Image.linear_gradient("L").resize((size, size))
    picture = Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180)))
    return [picture.copy() for _ in range(count)]


def masks(count: int, size: int = 16) -> list[Image.Image]:
    """Copies of one mask whose right half is to be painted."""
    mask = Image.new("L", (size, size))
    mask.paste(255, (size // 2, 0, size, size))
    return [mask.copy() for _ in range(count)]


def _t5_sizes(width: int) -> dict[str, Any]:
    """Sizes that T5 and UMT5 have in common."""
    return {
        "vocab_size": len(t5_tokenizer()),
        "d_model": width,
        "d_kv": width // 2,
        "d_ff": 2 * width,
        "num_layers": 2,
        "num_heads": 2,
        "feed_forward_proj": "gated-gelu",
    }
