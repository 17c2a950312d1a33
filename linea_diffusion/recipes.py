"""Measured recipes: which training settings a pipeline's kind of denoiser wants."""

from __future__ import annotations

from typing import Any

from torch import nn

from .calling import denoisers_of
from .training_config import TrainingConfig

RECIPES: dict[str, dict[str, Any]] = {
    "unet": {},
    "transformer": {"target_modules": "attention", "lr": 0.06, "iterations": 100, "scale_by_variance": True},
}
"""Kind of denoiser -> settings of `TrainingConfig` that are not its defaults. Measured on the embedded models:
``benchmarks/results/recipe_search.md`` and ``benchmarks/results/dit_recipes.md``."""


def recipe_for(pipe: Any, **settings: Any) -> TrainingConfig:
    """The recommended settings for a pipeline, with some of them changed.

    A U-Net is steered at its norms, the paper's choice. A transformer (DiT) loses objects that way: it is steered at
    the attention outputs of denoiser and text encoders, each weighed by the variance of its targets.

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        **settings: of `TrainingConfig`, which come before the recipe's. Other ``target_modules`` are trained with the
            settings that were measured for such modules, the defaults of `TrainingConfig`.

    Raises:
        LineaError: a setting out of range.
    """
    recipe = {} if "target_modules" in settings else RECIPES[denoiser_kind(pipe)]
    return TrainingConfig(**{**recipe, **settings})


def denoiser_kind(pipe: Any) -> str:
    """``"unet"`` if some denoiser has convolutions with group norms, as every U-Net has; ``"transformer"`` if none."""
    modules = (module for model in denoisers_of(pipe) for module in model.modules())
    return "unet" if any(isinstance(module, nn.GroupNorm) for module in modules) else "transformer"
