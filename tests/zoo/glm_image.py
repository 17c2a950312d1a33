"""GLM-Image: a language model draws tokens one by one, which a transformer then renders."""

from __future__ import annotations

from diffusers import GlmImagePipeline, GlmImageTransformer2DModel
from transformers import GlmImageConfig, GlmImageForConditionalGeneration, T5Config, T5EncoderModel

from .case import Case
from .llm_parts import WIDTH, louder
from .llm_words import byt5_tokenizer, glm_image_processor
from .parts import flow_scheduler, kl_autoencoder, seeded

CODES = 64


@seeded
def glm_image() -> GlmImagePipeline:
    """GLM-Image; a token covers 32 by 32 pixels, so that patches and latent pixels must make 16 by 16."""
    denoiser = GlmImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        text_embed_dim=WIDTH,
        time_embed_dim=16,
        condition_dim=8,
        prior_vq_quantizer_codebook_size=CODES,
    )
    return GlmImagePipeline(
        tokenizer=byt5_tokenizer(),
        processor=glm_image_processor(),
        text_encoder=glyph_encoder(),
        vision_language_encoder=louder(drawer(), 3.0),
        vae=kl_autoencoder(levels=4, latents_mean=[0.0] * 4, latents_std=[1.0] * 4),
        transformer=louder(denoiser),
        scheduler=flow_scheduler(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75),
    )


def glyph_encoder() -> T5EncoderModel:
    """ByT5, which reads the words of the prompt that stand in quotes."""
    sizes = {"d_model": WIDTH, "d_kv": WIDTH // 2, "d_ff": WIDTH, "num_layers": 1, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=len(byt5_tokenizer()), feed_forward_proj="gated-gelu", **sizes))


def drawer() -> GlmImageForConditionalGeneration:
    """The language model: it never ends by itself, as the mark for it is out of its reach."""
    tokenizer = glm_image_processor().tokenizer
    start, end, image = tokenizer.convert_tokens_to_ids(["<sop>", "<|endoftext|>", "<|image|>"])
    layers = {"hidden_size": WIDTH, "intermediate_size": WIDTH}
    text = {
        "vocab_size": len(tokenizer),
        "vision_vocab_size": CODES,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]},
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": end,
    }
    config = GlmImageConfig(
        text_config=layers | text,
        vision_config=layers | {"depth": 1, "num_heads": 2, "image_size": 32, "patch_size": 8},
        vq_config={"embed_dim": WIDTH, "num_embeddings": CODES, "latent_channels": WIDTH},
        image_token_id=image,
        image_start_token_id=start,
        image_end_token_id=end,
    )
    return GlmImageForConditionalGeneration(config)


# The language model draws all rows with the first generator's seed alone: a row of a batch is not the row by itself.
CASES = [Case("glm_image", glm_image, {"height": 64, "width": 64, "num_inference_steps": 2})]
