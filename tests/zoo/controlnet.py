"""ControlNets on Stable Diffusion 1 and XL, with perturbed attention and in their image-to-image classes."""

from __future__ import annotations

from typing import Any

from diffusers import (
    ControlNetModel,
    ControlNetUnionModel,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionControlNetPAGPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPAGPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLControlNetUnionPipeline,
)

from .case import Case
from .parts import pictures, seeded
from .unet import SIZE, UNET_SIZES, XL_SIZES, picture_and_mask, sd_parts, xl_parts

_CONTROL_SIZES = {
    "in_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "conditioning_embedding_out_channels": (8, 16),
}


def _heard(network: Any) -> Any:
    """Scale up what the control picture is turned into, so that it shows."""
    for parameter in network.controlnet_cond_embedding.parameters():
        parameter.data *= 3
    return network


def _union_controlnet() -> ControlNetUnionModel:
    """A ControlNet for three types of control pictures."""
    return ControlNetUnionModel(
        **_CONTROL_SIZES | XL_SIZES,
        num_control_type=3,
        num_trans_channel=8,
        num_trans_head=2,
        num_proj_channel=8,
    )


def _sd(pipeline_class: type) -> Any:
    return seeded(
        lambda: pipeline_class(**sd_parts(), controlnet=_heard(ControlNetModel(**_CONTROL_SIZES | UNET_SIZES)))
    )


def _xl(pipeline_class: type) -> Any:
    return seeded(lambda: pipeline_class(**xl_parts(), controlnet=_heard(ControlNetModel(**_CONTROL_SIZES | XL_SIZES))))


@seeded
def _xl_union() -> StableDiffusionXLControlNetUnionPipeline:
    return StableDiffusionXLControlNetUnionPipeline(**xl_parts(), controlnet=_heard(_union_controlnet()))


def _control(count: int) -> dict[str, Any]:
    """What a text-to-image ControlNet class gets for each picture."""
    return {"image": pictures(count)}


def _picture_and_control(count: int) -> dict[str, Any]:
    """What an image-to-image ControlNet class gets for each picture."""
    return {"image": pictures(count), "control_image": pictures(count)}


def _picture_mask_and_control(count: int) -> dict[str, Any]:
    """What an inpainting ControlNet class gets for each picture."""
    return {**picture_and_mask(count), "control_image": pictures(count)}


_TWO_STEPS = {"num_inference_steps": 2}
_THREE_STEPS = {"num_inference_steps": 3}
# The union class takes one control picture per control type, shared by all prompts.
_UNION = {**_TWO_STEPS, **SIZE, "control_image": pictures(1), "control_mode": [1]}

CASES: list[Case] = [
    Case("stable-diffusion-controlnet", _sd(StableDiffusionControlNetPipeline), _TWO_STEPS, _control),
    Case("stable-diffusion-controlnet-pag", _sd(StableDiffusionControlNetPAGPipeline), _TWO_STEPS, _control),
    Case("stable-diffusion-xl-controlnet", _xl(StableDiffusionXLControlNetPipeline), _TWO_STEPS, _control),
    Case("stable-diffusion-xl-controlnet-pag", _xl(StableDiffusionXLControlNetPAGPipeline), _TWO_STEPS, _control),
    Case("stable-diffusion-xl-controlnet-union", _xl_union, _UNION),
    Case(
        "stable-diffusion-controlnet-img2img",
        _sd(StableDiffusionControlNetImg2ImgPipeline),
        _THREE_STEPS,
        _picture_and_control,
    ),
    Case(
        "stable-diffusion-controlnet-inpaint",
        _sd(StableDiffusionControlNetInpaintPipeline),
        {**_TWO_STEPS, **SIZE},
        _picture_mask_and_control,
    ),
    Case(
        "stable-diffusion-xl-controlnet-img2img",
        _xl(StableDiffusionXLControlNetImg2ImgPipeline),
        _THREE_STEPS,
        _picture_and_control,
    ),
    Case(
        "stable-diffusion-xl-controlnet-inpaint",
        _xl(StableDiffusionXLControlNetInpaintPipeline),
        {**_THREE_STEPS, **SIZE},
        _picture_mask_and_control,
    ),
]
