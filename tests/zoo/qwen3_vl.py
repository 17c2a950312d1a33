"""Krea 2, Ideogram 4 and Nucleus-Image, which read with Qwen3-VL."""

from __future__ import annotations

from diffusers import (
    Ideogram4Pipeline,
    Ideogram4Transformer2DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    NucleusMoEImagePipeline,
    NucleusMoEImageTransformer2DModel,
)
from diffusers.pipelines.ideogram4.pipeline_ideogram4 import QWEN3_VL_ACTIVATION_LAYERS
from diffusers.pipelines.nucleusmoe_image.pipeline_nucleusmoe_image import DEFAULT_SYSTEM_PROMPT
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLModel

from .case import Case
from .llm_parts import WIDTH, flux2_autoencoder, louder, qwen3_vl_config, qwen_autoencoder
from .llm_words import qwen3_vl_processor, qwen_tokenizer
from .parts import flow_scheduler, seeded

ARGUMENTS = {"height": 16, "width": 16, "num_inference_steps": 2}


@seeded
def krea2() -> Krea2Pipeline:
    """Krea 2, whose transformer fuses two layers of the text encoder."""
    denoiser = Krea2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        timestep_embed_dim=16,
        text_hidden_dim=WIDTH,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=1,
        text_intermediate_size=32,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 4, 8),
    )
    return Krea2Pipeline(
        scheduler=flow_scheduler(use_dynamic_shifting=True),
        vae=qwen_autoencoder(),
        text_encoder=Qwen3VLModel(qwen3_vl_config(3)),
        tokenizer=qwen_tokenizer(),
        transformer=louder(denoiser),
        text_encoder_select_layers=(1, 2),
    )


def ideogram_transformer() -> Ideogram4Transformer2DModel:
    """Text and picture in one sequence; each token of text brings every layer that the pipeline taps."""
    model = Ideogram4Transformer2DModel(
        in_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        intermediate_size=32,
        adaln_dim=16,
        llm_features_dim=WIDTH * len(QWEN3_VL_ACTIVATION_LAYERS),
        mrope_section=(4, 2, 2),
    )
    louder(model.llm_cond_proj, 4.0)
    return louder(model)


@seeded
def ideogram4() -> Ideogram4Pipeline:
    """Ideogram 4: a transformer of its own draws without the prompt, and the tapped layers are fixed numbers."""
    return Ideogram4Pipeline(
        scheduler=flow_scheduler(),
        vae=flux2_autoencoder(),
        text_encoder=Qwen3VLModel(qwen3_vl_config(max(QWEN3_VL_ACTIVATION_LAYERS) + 1)),
        tokenizer=qwen_tokenizer(),
        transformer=ideogram_transformer(),
        unconditional_transformer=ideogram_transformer(),
    )


@seeded
def nucleus() -> NucleusMoEImagePipeline:
    """Nucleus-Image, whose pipeline taps the eighth state from the end."""
    return NucleusMoEImagePipeline(
        transformer=louder(experts()),
        scheduler=flow_scheduler(),
        vae=qwen_autoencoder(),
        text_encoder=Qwen3VLForConditionalGeneration(qwen3_vl_config(8, DEFAULT_SYSTEM_PROMPT)),
        processor=qwen3_vl_processor(DEFAULT_SYSTEM_PROMPT),
    )


def experts() -> NucleusMoEImageTransformer2DModel:
    """A dense block, then one whose experts choose tokens; they start without values."""
    model = NucleusMoEImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(8, 4, 4),
        mlp_ratio=6.0,
        dense_moe_strategy="leave_first_block_dense",
        num_experts=4,
        moe_intermediate_dim=16,
        capacity_factors=2.0,
    )
    for name, parameter in model.named_parameters():
        if ".experts." in name:
            parameter.data.normal_(std=0.2)
    return model


CASES = [
    Case("krea2", krea2, ARGUMENTS | {"max_sequence_length": 64}),
    Case("ideogram4", ideogram4, ARGUMENTS | {"max_sequence_length": 64, "guidance_schedule": (7.0, 3.0)}),
    Case("nucleusmoe-image", nucleus, ARGUMENTS),
]
