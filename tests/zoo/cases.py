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

_FAMILIES = (
    unet, controlnet, sd3, flux, flux_control, flux2, pixart, dit, sana, hunyuan, kandinsky, deepfloyd, wuerstchen, prx,
    lumina, cogview, glm_image, qwen, qwen3_vl, zimage, helios,
)  # fmt: skip
CASES: dict[str, Case] = {case.key: case for family in _FAMILIES for case in family.CASES}
"""Key -> case, those that take lists of prompts."""
