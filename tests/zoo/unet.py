"""Stable Diffusion 1 and XL, latent consistency, perturbed attention, and their image-to-image classes."""

from __future__ import annotations

from typing import Any

from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPAGPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from .case import Case
from .parts import clip_encoder, kl_autoencoder, louder, masks, pictures, projected_clip_encoder, seeded
from .words import clip_tokenizer

SIZE = {"height": 16, "width": 16}
TIMES = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
UNET_SIZES = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
    "cross_attention_dim": 32,
}
XL_SIZES = UNET_SIZES | {
    "attention_head_dim": (2, 4),
    "transformer_layers_per_block": (1, 2),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 32,
    "cross_attention_dim": 64,
}


def unet(in_channels: int = 4, **options: Any) -> UNet2DConditionModel:
    """A U-Net of two levels, the deeper one (and XL's only one) with cross-attention."""
    network = UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **UNET_SIZES | options,
    )
    return louder(network, 4.0, only="attn2.to_out")


def sd_parts(**unet_options: Any) -> dict[str, Any]:
    """The components of Stable Diffusion 1, without a safety checker."""
    return {
        "vae": kl_autoencoder(),
        "text_encoder": clip_encoder(),
        "tokenizer": clip_tokenizer(),
        "unet": unet(**unet_options),
        "scheduler": DDIMScheduler(**TIMES, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def xl_parts(in_channels: int = 4) -> dict[str, Any]:
    """The components of Stable Diffusion XL, without a watermark."""
    return {
        "vae": kl_autoencoder(),
        "text_encoder": clip_encoder(),
        "text_encoder_2": projected_clip_encoder(),
        "tokenizer": clip_tokenizer(),
        "tokenizer_2": clip_tokenizer(),
        "unet": unet(in_channels, **XL_SIZES),
        "scheduler": EulerDiscreteScheduler(**TIMES, timestep_spacing="leading", steps_offset=1),
        "add_watermarker": False,
    }


def picture_and_mask(count: int) -> dict[str, Any]:
    """What an inpainting class gets for each picture."""
    return {"image": pictures(count), "mask_image": masks(count)}


@seeded
def _latent_consistency() -> LatentConsistencyModelPipeline:
    parts = sd_parts(time_cond_proj_dim=8) | {"scheduler": LCMScheduler(**TIMES)}
    return LatentConsistencyModelPipeline(**parts)


@seeded
def _inpaint() -> StableDiffusionInpaintPipeline:
    return StableDiffusionInpaintPipeline(**sd_parts(in_channels=9))


def _sd(pipeline_class: type) -> Any:
    return seeded(lambda: pipeline_class(**sd_parts()))


def _xl(pipeline_class: type) -> Any:
    return seeded(lambda: pipeline_class(**xl_parts()))


def _image(count: int) -> dict[str, Any]:
    return {"image": pictures(count)}


_TWO_STEPS = {"num_inference_steps": 2, **SIZE}

CASES: list[Case] = [
    Case("stable-diffusion", _sd(StableDiffusionPipeline), _TWO_STEPS),
    Case("stable-diffusion-pag", _sd(StableDiffusionPAGPipeline), _TWO_STEPS),
    Case("lcm", _latent_consistency, _TWO_STEPS),
    Case("stable-diffusion-xl", _xl(StableDiffusionXLPipeline), _TWO_STEPS),
    Case("stable-diffusion-xl-pag", _xl(StableDiffusionXLPAGPipeline), _TWO_STEPS),
    Case("stable-diffusion-img2img", _sd(StableDiffusionImg2ImgPipeline), {"num_inference_steps": 3}, _image),
    Case("stable-diffusion-inpaint", _inpaint, _TWO_STEPS, picture_and_mask),
    Case("stable-diffusion-xl-img2img", _xl(StableDiffusionXLImg2ImgPipeline), {"num_inference_steps": 7}, _image),
    Case(
        "stable-diffusion-xl-inpaint",
        _xl(StableDiffusionXLInpaintPipeline),
        {"num_inference_steps": 3, **SIZE},
        picture_and_mask,
    ),
]
