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
    from .grids import StyleGrid
    from .losses import steering_loss, wasserstein_1d
    from .maps import SteeringMaps
    from .modules import find_modules
    from .pipeline import LinEASDiffusionPipeline
    from .scoring import ClipScorer
    from .training import train_steering_maps
    from .training_config import TrainingConfig

__version__ = "0.1.0"

_HOMES = {
    "calibrate": "calibration",
    "evaluate": "evaluation",
    "gaussian_act": "baselines",
    "generate_batch": "batch.engine",
    "linear_act": "baselines",
    "mean_shift": "baselines",
    "AffineMap": "affine",
    "ClipScorer": "scoring",
    "Concept": "concepts",
    "LinEASDiffusionPipeline": "pipeline",
    "LineaError": "errors",
    "SteeringMaps": "maps",
    "StyleGrid": "grids",
    "TrainingConfig": "training_config",
    "TrainingDivergedError": "errors",
    "edit_activations": "activations",
    "find_modules": "modules",
    "list_concepts": "concepts",
    "load_concept": "concepts",
    "record_activations": "activations",
    "steering_loss": "losses",
    "train_steering_maps": "training",
    "wasserstein_1d": "losses",
}

__all__ = [
    "AffineMap",
    "ClipScorer",
    "Concept",
    "LinEASDiffusionPipeline",
    "LineaError",
    "SteeringMaps",
    "StyleGrid",
    "TrainingConfig",
    "TrainingDivergedError",
    "__version__",
    "calibrate",
    "edit_activations",
    "evaluate",
    "find_modules",
    "gaussian_act",
    "generate_batch",
    "linear_act",
    "list_concepts",
    "load_concept",
    "mean_shift",
    "record_activations",
    "steering_loss",
    "train_steering_maps",
    "wasserstein_1d",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
