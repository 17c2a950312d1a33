"""Language models and autoencoders that the newer tiny pipelines share."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKLFlux2, AutoencoderKLQwenImage
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GemmaConfig,
    GemmaModel,
    GlmConfig,
    GlmModel,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3VLConfig,
)

from .llm_words import gemma_tokenizer, glm_tokenizer, pixtral_processor, qwen_tokenizer

WIDTH = 32
_SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,
}
_HEAD = {"head_dim": WIDTH // 2}
_QWEN_VISION = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_heads": 2,
    "out_hidden_size": WIDTH,
    "patch_size": 8,
}


def qwen3_config(layers: int = 2) -> Qwen3Config:
    """Qwen 3 at tiny size."""
    tokenizer = qwen_tokenizer()
    return Qwen3Config(
        vocab_size=len(tokenizer),
        num_hidden_layers=layers,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        **_SIZES | _HEAD,
    )


def qwen25_vl() -> Qwen2_5_VLForConditionalGeneration:
    """Qwen2.5-VL, the text encoder of Qwen-Image."""
    tokenizer = qwen_tokenizer()
    marks = ("vision_start", "vision_end", "image_pad", "video_pad")
    start, end, image, video = (tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for mark in marks)
    rope = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [2, 3, 3]}
    text = {"vocab_size": len(tokenizer), "num_hidden_layers": 2, "rope_parameters": rope}
    config = Qwen2_5_VLConfig(
        text_config=_SIZES | text,
        vision_config=_QWEN_VISION | {"fullatt_block_indexes": [0]},
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
        video_token_id=video,
        initializer_range=_SIZES["initializer_range"],
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen3_vl_config(layers: int = 2, texts: str = "") -> Qwen3VLConfig:
    """Qwen3-VL, the text encoder of several newer pipelines."""
    tokenizer = qwen_tokenizer(texts)
    marks = ("vision_start", "vision_end", "image_pad", "video_pad")
    start, end, image, video = (tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for mark in marks)
    rope = {"rope_type": "default", "rope_theta": 5000000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = {"vocab_size": len(tokenizer), "num_hidden_layers": layers, "rope_parameters": rope}
    return Qwen3VLConfig(
        text_config=_SIZES | _HEAD | text,
        vision_config=_QWEN_VISION | {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
        video_token_id=video,
    )


def gemma() -> GemmaModel:
    """Gemma, the text encoder of Lumina."""
    return GemmaModel(GemmaConfig(num_hidden_layers=2, **_gemma_words(), **_SIZES | _HEAD))


def gemma2(texts: str = "") -> Gemma2Model:
    """Gemma 2, the text encoder of Sana and Lumina 2."""
    return Gemma2Model(Gemma2Config(num_hidden_layers=2, **_gemma_words(texts), **_SIZES | _HEAD))


def glm() -> GlmModel:
    """GLM 4, the text encoder of CogView 4."""
    tokenizer = glm_tokenizer()
    words = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "eos_token_id": None}
    return GlmModel(GlmConfig(num_hidden_layers=2, **words, **_SIZES | _HEAD))


def mistral3(layers: int = 3, texts: str = "") -> Mistral3ForConditionalGeneration:
    """Mistral 3 with a tiny Pixtral, the text encoder of FLUX.2."""
    tokenizer = pixtral_processor(texts).tokenizer
    words = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    vision = {
        "model_type": "pixtral",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    config = Mistral3Config(
        text_config={"model_type": "mistral", "num_hidden_layers": layers} | words | _SIZES | _HEAD,
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
    )
    return Mistral3ForConditionalGeneration(config)


def qwen_autoencoder(latent_channels: int = 4) -> AutoencoderKLQwenImage:
    """Qwen-Image's autoencoder of videos with one frame: a latent pixel covers two by two pixels."""
    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=latent_channels,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.0] * latent_channels,
        latents_std=[1.0] * latent_channels,
    )


def flux2_autoencoder(latent_channels: int = 4) -> AutoencoderKLFlux2:
    """FLUX.2's autoencoder with statistics of its packed latents: a latent pixel covers two by two pixels."""
    return AutoencoderKLFlux2(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=16,
    )


def louder(module: nn.Module, factor: float = 2.0) -> nn.Module:
    """The module with larger weight matrices, so that a word of the prompt shows in the picture."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(factor)
    return module


def _gemma_words(texts: str = "") -> dict[str, Any]:
    """What Gemma's configurations say of our tokenizer."""
    tokenizer = gemma_tokenizer(texts)
    return {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
