"""Every case of the matrix."""

from __future__ import annotations

from . import (
    cogview,
    controlnet,
    deepfloyd,
    dit,
    flux,
    flux2,
    flux_control,
    glm_image,
    helios,
    hunyuan,
    kandinsky,
    lumina,
    pixart,
    prx,
    qwen,
    qwen3_vl,
    sana,
    sd3,
    unet,
    wuerstchen,
    zimage,
)
from .case import Case
from .modular import modular_cases

_FAMILIES = (
    unet, controlnet, sd3, flux, flux_control, flux2, pixart, dit, sana, hunyuan, kandinsky, deepfloyd, wuerstchen, prx,
    lumina, cogview, glm_image, qwen, qwen3_vl, zimage, helios,
)  # fmt: skip
_CLASSIC: dict[str, Case] = {case.key: case for family in _FAMILIES for case in family.CASES}
CASES: dict[str, Case] = _CLASSIC | {case.key: case for case in modular_cases(_CLASSIC)}
"""Key -> case, those that take lists of prompts."""
REMARKS = {
    "ideogram4": "prompt and picture come in one sequence: masks by pictures only",
    "stable-diffusion-3-controlnet": "the class draws from torch's own generator too",
    "cogview4-control": "the class draws from torch's own generator too",
    "glm_image": "its token generation runs without gradients; its text encoder only reads quoted words",
    "wuerstchen": "the class repeats its decoder's texts too often for lists of prompts: tested with a decoder "
    "that does not attend to them",
    "cascade": "the class never calls its `text_encoder`; the prior's is steered",
    "prx": "guidance with lists of prompts fails in the class: tested without guidance",
    "helios": "a video class: `.frames`",
    "helios-pyramid": "a video class: `.frames`",
    "helios (modular)": "a video class: `.videos`; its unsteered videos are not the classic class's",
    "stable-diffusion-3 (modular)": "guided where a negative prompt is given",
    "qwenimage (modular)": "lists of prompts need a negative prompt each in the class",
    "flux2 (modular)": "its unsteered pictures are not the classic class's",
    "z-image (modular)": "its guider counts one more than the classic class; off unless a scale is given",
    "qwenimage21": "its cache processes the text in the first step only",
    "cogview4": "no attention masks: prompts of other lengths change each other's pictures in the base model too",
}
"""What a user should know of a class, found while it was tested."""
