"""linea-diffusion: learn a style from words, then turn it from 0 to 1 on any diffusers pipeline.

Names are imported on first use, so that ``import linea_diffusion`` stays instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .activations import edit_activations, record_activations
    from .affine import AffineMap
    from .baselines import gaussian_act, linear_act, mean_shift
    from .batch.engine import generate_batch
    from .calibration import calibrate
    from .concepts import Concept, list_concepts, load_concept
    from .errors import LineaError, TrainingDivergedError
    from .evaluation import evaluate
    from .exploring import explore
    from .grids import StyleGrid
    from .levels import Level
    from .losses import steering_loss, wasserstein_1d
    from .maps import SteeringMaps
    from .modules import find_modules
    from .pipeline import LinEASDiffusionPipeline
    from .plots import Curve, curves_plot, support_plot
    from .recipes import paper_recipe, recipe_for
    from .report import evaluation_page, grid_page, write_report
    from .scoring import ClipScorer
    from .training import train_steering_maps
    from .training_config import TrainingConfig

__version__ = "0.1.0"

_HOMES = {
    "calibrate": "calibration",
    "curves_plot": "plots",
    "edit_activations": "activations",
    "evaluate": "evaluation",
    "evaluation_page": "report",
    "explore": "exploring",
    "find_modules": "modules",
    "gaussian_act": "baselines",
    "generate_batch": "batch.engine",
    "grid_page": "report",
    "linear_act": "baselines",
    "list_concepts": "concepts",
    "load_concept": "concepts",
    "mean_shift": "baselines",
    "paper_recipe": "recipes",
    "recipe_for": "recipes",
    "record_activations": "activations",
    "steering_loss": "losses",
    "support_plot": "plots",
    "train_steering_maps": "training",
    "wasserstein_1d": "losses",
    "write_report": "report",
    "AffineMap": "affine",
    "ClipScorer": "scoring",
    "Concept": "concepts",
    "Curve": "plots",
    "Level": "levels",
    "LinEASDiffusionPipeline": "pipeline",
    "LineaError": "errors",
    "SteeringMaps": "maps",
    "StyleGrid": "grids",
    "TrainingConfig": "training_config",
    "TrainingDivergedError": "errors",
}

__all__ = [
    "AffineMap",
    "ClipScorer",
    "Concept",
    "Curve",
    "Level",
    "LinEASDiffusionPipeline",
    "LineaError",
    "SteeringMaps",
    "StyleGrid",
    "TrainingConfig",
    "TrainingDivergedError",
    "__version__",
    "calibrate",
    "curves_plot",
    "edit_activations",
    "evaluate",
    "evaluation_page",
    "explore",
    "find_modules",
    "gaussian_act",
    "generate_batch",
    "grid_page",
    "linear_act",
    "list_concepts",
    "load_concept",
    "mean_shift",
    "paper_recipe",
    "recipe_for",
    "record_activations",
    "steering_loss",
    "support_plot",
    "train_steering_maps",
    "wasserstein_1d",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
