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
        **settings: of `TrainingConfig`, which come before the recipe's. With other ``target_modules`` than the recipe's
            the defaults of `TrainingConfig` hold, because a learning rate suits the modules that it was measured on.

    Raises:
        LineaError: a setting out of range.
    """
    recipe = RECIPES[denoiser_kind(pipe)]
    if "target_modules" in settings and _listed(settings["target_modules"]) != _listed(recipe.get("target_modules")):
        recipe = {}
    return TrainingConfig(**{**recipe, **settings})


def _listed(modules: Any) -> Any:
    """One name is a list of one."""
    return (modules,) if isinstance(modules, str) else modules if modules is None else tuple(modules)


def denoiser_kind(pipe: Any) -> str:
    """``"unet"`` if some denoiser has convolutions with group norms, as every U-Net has; ``"transformer"`` if none."""
    modules = (module for model in denoisers_of(pipe) for module in model.modules())
    return "unet" if any(isinstance(module, nn.GroupNorm) for module in modules) else "transformer"
