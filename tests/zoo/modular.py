"""Modular pipelines: the blocks that diffusers has for a class, over the tiny components of that class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers.modular_pipelines.modular_pipeline import MODULAR_PIPELINE_MAPPING

from .case import Case

KEYS = (
    "stable-diffusion-xl", "stable-diffusion-3", "flux", "flux2", "flux2-klein", "qwenimage", "qwenimage21", "z-image",
    "helios",
)  # fmt: skip
"""The classic pipelines that there are blocks for which begin with a prompt alone."""


def modular(base: Any, key: str) -> Any:
    """The modular pipeline of a key, over the components of a classic one."""
    made = getattr(diffusers, MODULAR_PIPELINE_MAPPING[key](dict(base.config)))()
    made.update_components(**{name: part for name, part in base.components.items() if name in made.components})
    return made


def modular_cases(cases: Mapping[str, Case]) -> list[Case]:
    """The modular pipelines of these cases; what scales true guidance is the guider's there."""
    return [modular_case(cases[key]) for key in KEYS]


def modular_case(case: Case) -> Case:
    """A case's modular pipeline."""
    names = {"true_cfg_scale": "guidance_scale"}
    arguments = {names.get(name, name): value for name, value in case.arguments.items()}
    return Case(f"{case.key} (modular)", lambda: modular(case.build(), case.key), arguments, case.per_image)
