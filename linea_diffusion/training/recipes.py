"""Measured recipes: which training settings a pipeline's kind of denoiser and a concept want."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..concepts.concept import Concept
from ..pipelines.calling import denoisers_of
from ..steering.language import is_language_model
from .config import TrainingConfig

_LAWS: dict[str, Any] = {
    "rank": 0,
    "scale": True,
    "batch_size": None,
    "strengths": (1.0, 0.5, 0.75, 0.25),
    "sparsity": 0.9,
}
_TEXT: dict[str, Any] = {
    **_LAWS,
    "pairing": "law",
    "pooling": "mean",
    "num_inference_steps": 1,
    "guidance_scale": None,
    "calibrate": False,
    "sparsity": 0.0,
    "map_dropout": 0.5,
    "strengths": (1.0,),
}
"""Of a language model: sentences are no pairs token by token, so that their laws are compared, and there is no schedule
and no picture."""
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "unet": {
        "rows": {},
        "law": {**_LAWS, "target_modules": "norms", "lr": 0.02, "iterations": 60, "scale_by_variance": False},
    },
    "transformer": {
        "rows": {
            "rank": 8,
            "scale": False,
            "iterations": 100,
            "strengths": (1.0, 0.5, 1.0, 0.75, 1.0, 0.25),
            "use_levels": False,
            "sparsity": 0.953,
        },
        "law": {**_LAWS, "lr": 0.06, "iterations": 100},
    },
    "language": {key: {**_TEXT, "target_modules": "norms", "lr": 0.03, "iterations": 100} for key in ("rows", "law")},
}
"""Kind of denoiser -> pairing -> settings of `TrainingConfig` that are not its defaults. Measured on the embedded
models: ``benchmarks/results/pairs.md``; for laws ``benchmarks/results/recipe_search.md`` and ``dit_recipes.md``."""
PAPER: dict[str, Any] = {"strengths": (1.0,), "sparsity": 0.0}
"""What the paper's LinEAS does otherwise than our recipe for laws: dense maps, learned at strength 1 only."""


def recipe_for(pipe: Any, concept: Concept | None = None, **settings: Any) -> TrainingConfig:
    """The recommended settings for a pipeline or language model and a concept, with some of them changed.

    Concepts in pairs (`Concept.is_paired`) are learned row by row, with low-rank maps of the attention outputs. Others
    are learned as laws, with coordinate-wise maps: of a U-Net's norms, the paper's choice; of a transformer's (DiT)
    attention outputs, because norms lose objects there.

    Args:
        pipe: a diffusers pipeline, a `LinEASDiffusionPipeline`, or a language model, see `steerable`.
        concept: what is to be learned; one in pairs when left out.
        **settings: of `TrainingConfig`, which come before the recipe's. With other ``target_modules`` than the recipe's
            only the kind of map remains of it, and `TrainingConfig` has the defaults of the rest, because a learning
            rate suits the modules that it was measured on.

    Raises:
        LineaError: a setting out of range.
    """
    pairing = settings.get("pairing", "auto")
    if pairing == "auto":
        pairing = "rows" if concept is None or concept.is_paired else "law"
    kind = model_kind(pipe)
    recipe = RECIPES[kind]["law" if pairing == "law" else "rows"]
    defaults = _listed(recipe.get("target_modules", TrainingConfig.target_modules))
    if "target_modules" in settings and _listed(settings["target_modules"]) != defaults:
        recipe = _TEXT if kind == "language" else _LAWS if pairing == "law" else {}
    return TrainingConfig(**{**recipe, **settings})


def paper_recipe(pipe: Any, **settings: Any) -> TrainingConfig:
    """Settings as in the paper (arXiv 2503.10679): coordinate-wise dense maps, laws, strength 1 only.

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        **settings: of `TrainingConfig`, which come before these.
    """
    return recipe_for(pipe, **{"pairing": "law", **PAPER, **settings})


def _listed(modules: Any) -> tuple[str, ...]:
    """One name is a list of one."""
    return (modules,) if isinstance(modules, str) else tuple(modules)


def model_kind(pipe: Any) -> str:
    """``"language"`` for a language model; ``"unet"`` if some denoiser has convolutions with group norms, as every
    U-Net has; ``"transformer"`` if none."""
    if is_language_model(pipe):
        return "language"
    modules = (module for model in denoisers_of(pipe) for module in model.modules())
    return "unet" if any(isinstance(module, nn.GroupNorm) for module in modules) else "transformer"
