"""DeepFloyd IF: a U-Net over pixels that reads T5."""

from __future__ import annotations

from diffusers import DDPMScheduler, IFPipeline, UNet2DConditionModel

from .case import Case
from .parts import seeded, t5_encoder
from .words import t5_tokenizer


def _unet() -> UNet2DConditionModel:
    """A U-Net that predicts noise and variance of three colors."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        encoder_hid_dim=32,
        cross_attention_dim=32,
        attention_head_dim=8,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
    )


@seeded
def _pixels() -> IFPipeline:
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        thresholding=True,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=1.5,
        variance_type="learned_range",
    )
    return IFPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5_encoder(),
        unet=_unet(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


CASES: list[Case] = [
    Case("if", _pixels, {"num_inference_steps": 2, "height": 16, "width": 16, "clean_caption": False}),
]
