"""Kandinsky 2.1, 2.2 and 3: a prior that turns words into CLIP's picture embedding, then a decoder; or T5 alone."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    KandinskyCombinedPipeline,
    KandinskyV22CombinedPipeline,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from .case import Case
from .parts import projected_clip_encoder, seeded, t5_encoder
from .words import clip_tokenizer, t5_tokenizer, xlm_roberta_tokenizer

_TIMES = {"beta_start": 0.00085, "beta_end": 0.012}


def _multilingual_clip() -> MultilingualCLIP:
    """Kandinsky 2.1's own text encoder, a mean over XLM-RoBERTa's states."""
    config = MCLIPConfig(
        transformerDimSize=32,
        imageDimSize=32,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=2,
        max_position_embeddings=80,
        vocab_size=len(xlm_roberta_tokenizer()),
        initializer_range=0.3,
    )
    return MultilingualCLIP(config)


def _movq() -> VQModel:
    """The autoencoder with spatially conditioned norms, whose groups are 32 whatever the configuration says."""
    return VQModel(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        norm_num_groups=4,
        norm_type="spatial",
        num_vq_embeddings=12,
        vq_embed_dim=4,
    )


def _prior() -> PriorTransformer:
    """The prior, with the spread of CLIP's embedding set to one."""
    prior = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        embedding_dim=32,
        num_embeddings=77,
        additional_embeddings=4,
    )
    torch.nn.init.ones_(prior.clip_std)
    return prior


def _prior_parts() -> dict[str, Any]:
    """What the prior of Kandinsky 2 is made of."""
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        projection_dim=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    return {
        "prior_prior": _prior(),
        "prior_image_encoder": CLIPVisionModelWithProjection(vision),
        "prior_text_encoder": projected_clip_encoder(),
        "prior_tokenizer": clip_tokenizer(),
        "prior_scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample=True, clip_sample_range=5.0
        ),
        "prior_image_processor": CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
    }


def _unet(**options: Any) -> UNet2DConditionModel:
    """A decoder that predicts noise and variance from a picture embedding."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        encoder_hid_dim=32,
        cross_attention_dim=32,
        attention_head_dim=8,
        resnet_time_scale_shift="scale_shift",
        **options,
    )


@seeded
def _kandinsky() -> KandinskyCombinedPipeline:
    return KandinskyCombinedPipeline(
        text_encoder=_multilingual_clip(),
        tokenizer=xlm_roberta_tokenizer(),
        unet=_unet(encoder_hid_dim_type="text_image_proj", addition_embed_type="text_image"),
        scheduler=DDIMScheduler(**_TIMES, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        movq=_movq(),
        **_prior_parts(),
    )


@seeded
def _kandinsky22() -> KandinskyV22CombinedPipeline:
    return KandinskyV22CombinedPipeline(
        unet=_unet(encoder_hid_dim_type="image_proj", addition_embed_type="image"),
        scheduler=DDPMScheduler(**_TIMES, variance_type="learned_range", clip_sample=True, clip_sample_range=2.0),
        movq=_movq(),
        **_prior_parts(),
    )


@seeded
def _kandinsky3() -> Kandinsky3Pipeline:
    unet = Kandinsky3UNet(
        time_embedding_dim=32,
        groups=4,
        attention_head_dim=8,
        layers_per_block=2,
        block_out_channels=(16, 32),
        cross_attention_dim=32,
        encoder_hid_dim=32,
    )
    return Kandinsky3Pipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5_encoder(),
        unet=unet,
        scheduler=DDPMScheduler(**_TIMES, beta_schedule="squaredcos_cap_v2", clip_sample=False),
        movq=_movq(),
    )


_TWO_STEPS = {"num_inference_steps": 2, "height": 16, "width": 16}

CASES: list[Case] = [
    Case("kandinsky", _kandinsky, {**_TWO_STEPS, "prior_num_inference_steps": 2}),
    Case("kandinsky22", _kandinsky22, {**_TWO_STEPS, "prior_num_inference_steps": 2}),
    Case("kandinsky3", _kandinsky3, _TWO_STEPS),
]
