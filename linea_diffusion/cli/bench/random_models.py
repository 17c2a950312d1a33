"""Pipelines of real size and real shape with random weights: for speed and memory, not for pictures.

Weights are made where they are used, in the dtype in which they are used. Text encoders get real tokenizers that
spell letter by letter and need no file. The only part that is smaller than the real one is the T5 encoder of FLUX, of
which one narrow layer is left: it runs once a picture, and steering leaves it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
import transformers
from torch import nn
from transformers.convert_slow_tokenizer import bytes_to_unicode

from ...errors import LineaError
from ...pipelines.sizing.shapes import without_numbers

Sizes = dict[str, Any]
Parts = dict[str, Any]

XL_UNET: Sizes = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 6 * 256 + 1280,
}
SD3_TRANSFORMER: Sizes = {
    "sample_size": 128,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 24 * 64,
    "pooled_projection_dim": 768 + 1280,
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
}
FLUX_TRANSFORMER: Sizes = {"guidance_embeds": True}
"""What is left out is diffusers' default, which is that of FLUX.1-dev."""
CLIP_L: Sizes = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "hidden_act": "quick_gelu"}
CLIP_G: Sizes = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20, "hidden_act": "gelu"}
AUTOENCODER: Sizes = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 1024}
FLOW_LATENTS: Sizes = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
TINY: dict[str, Sizes] = {
    "unet": {
        "sample_size": 4, "block_out_channels": (8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4,
        "attention_head_dim": 2, "transformer_layers_per_block": 1, "cross_attention_dim": 64,
        "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 6 * 8 + 32,
    },
    "sd3": {
        "sample_size": 4, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 4, "pos_embed_max_size": 8,
        "joint_attention_dim": 64, "caption_projection_dim": 32, "pooled_projection_dim": 64,
        "dual_attention_layers": (0,),
    },
    "flux": {
        "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 32, "pooled_projection_dim": 32, "axes_dims_rope": (4, 4, 8),
    },
    "clip": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "autoencoder": {
        "block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 32,
    },
}  # fmt: skip
"""What makes the same classes small enough for tests: pictures of 32 x 32 pixels."""


def random_pipeline(
    name: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, tiny: bool = False
) -> Any:
    """A diffusers pipeline of a known model's shape with random weights, the same every time on one machine.

    Args:
        name: one of `RANDOM_MODELS`.
        device: where the weights are made; on ``meta`` there are none, only shapes, and calls make only shapes.
        dtype: in which they are made.
        tiny: the same classes with a few thousand numbers, for tests.

    Raises:
        LineaError: an unknown name.
    """
    if name not in RANDOM_MODELS:
        raise LineaError(f"got model {name!r}: expected one of {', '.join(RANDOM_MODELS)}")
    pipeline_class, parts, scheduler = RANDOM_MODELS[name]
    with torch.random.fork_rng(), _made_on(device, dtype):
        torch.manual_seed(0)
        made = parts(tiny)
    for part in made.values():
        if isinstance(part, nn.Module):
            nn.Module.to(part, device, dtype)  # diffusers' own warns of layers to be kept in float32: there are none
            part.eval().requires_grad_(False)
    pipe = pipeline_class(**made, scheduler=scheduler())
    pipe.register_to_config(_name_or_path=name)
    return without_numbers(pipe) if torch.device(device).type == "meta" else pipe


@contextmanager
def _made_on(device: torch.device | str, dtype: torch.dtype) -> Iterator[None]:
    """Within the context new tensors are on a device and new weights have a dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def xl_parts(tiny: bool) -> Parts:
    """The models of SDXL base 1.0."""
    return {
        "unet": diffusers.UNet2DConditionModel(**XL_UNET | (TINY["unet"] if tiny else {})),
        "vae": _autoencoder(tiny, scaling_factor=0.13025),
        "text_encoder": transformers.CLIPTextModel(_clip_config(CLIP_L, tiny)),
        "text_encoder_2": transformers.CLIPTextModelWithProjection(_clip_config(CLIP_G, tiny)),
        "tokenizer": clip_tokenizer(),
        "tokenizer_2": clip_tokenizer(),
        "add_watermarker": False,
    }


def sd3_parts(tiny: bool) -> Parts:
    """The models of Stable Diffusion 3.5 medium without T5, which it can do without."""
    return {
        "transformer": diffusers.SD3Transformer2DModel(**SD3_TRANSFORMER | (TINY["sd3"] if tiny else {})),
        "vae": _autoencoder(tiny, scaling_factor=1.5305, shift_factor=0.0609, **FLOW_LATENTS),
        "text_encoder": transformers.CLIPTextModelWithProjection(_clip_config(CLIP_L, tiny)),
        "text_encoder_2": transformers.CLIPTextModelWithProjection(_clip_config(CLIP_G, tiny)),
        "text_encoder_3": None,
        "tokenizer": clip_tokenizer(),
        "tokenizer_2": clip_tokenizer(),
        "tokenizer_3": None,
    }


def flux_parts(tiny: bool) -> Parts:
    """The models of FLUX.1-dev, T5 but for one narrow layer."""
    width = 32 if tiny else 4096
    sizes = {"d_model": width, "d_ff": width, "num_layers": 1, "num_heads": 4, "vocab_size": 384}
    t5 = transformers.T5Config(**sizes, feed_forward_proj="gated-gelu")
    return {
        "transformer": diffusers.FluxTransformer2DModel(**FLUX_TRANSFORMER | (TINY["flux"] if tiny else {})),
        "vae": _autoencoder(tiny, scaling_factor=0.3611, shift_factor=0.1159, **FLOW_LATENTS),
        "text_encoder": transformers.CLIPTextModel(_clip_config(CLIP_L, tiny)),
        "text_encoder_2": transformers.T5EncoderModel(t5),
        "tokenizer": clip_tokenizer(),
        "tokenizer_2": transformers.ByT5Tokenizer(),
    }


def clip_tokenizer() -> transformers.CLIPTokenizer:
    """CLIP's byte-level tokenizer without a single merge: every letter is a token."""
    letters = list(bytes_to_unicode().values())
    names = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: index for index, name in enumerate(names)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _clip_config(sizes: Sizes, tiny: bool) -> transformers.CLIPTextConfig:
    """A text tower with the embedding table of the real vocabulary, and the ids of our tokenizer."""
    options, tokenizer = sizes | (TINY["clip"] if tiny else {}), clip_tokenizer()
    return transformers.CLIPTextConfig(
        **options,
        intermediate_size=4 * options["hidden_size"],
        projection_dim=options["hidden_size"],
        vocab_size=len(tokenizer) if tiny else 49408,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _autoencoder(tiny: bool, **options: Any) -> diffusers.AutoencoderKL:
    sizes = AUTOENCODER | (TINY["autoencoder"] if tiny else {})
    down, up = (("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4)
    return diffusers.AutoencoderKL(**sizes, down_block_types=down, up_block_types=up, **options)


def _flow(**options: Any) -> Callable[[], Any]:
    return lambda: diffusers.FlowMatchEulerDiscreteScheduler(**options)


def _euler() -> Any:
    times = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return diffusers.EulerDiscreteScheduler(**times, timestep_spacing="leading", steps_offset=1)


RANDOM_MODELS: dict[str, tuple[Any, Callable[[bool], Parts], Callable[[], Any]]] = {
    "random-sdxl": (diffusers.StableDiffusionXLPipeline, xl_parts, _euler),
    "random-sd3.5-medium": (diffusers.StableDiffusion3Pipeline, sd3_parts, _flow(shift=3.0)),
    "random-flux.1": (diffusers.FluxPipeline, flux_parts, _flow(shift=3.0, use_dynamic_shifting=True)),
}
"""Name -> pipeline class, its models (tiny or not), its scheduler."""
