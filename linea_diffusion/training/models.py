"""Which `Run` a model is trained through."""

from __future__ import annotations

from typing import Any

from ..steering.language import is_language_model
from .config import TrainingConfig
from .diffusion import DiffusionRun
from .language import LanguageRun


def run_of(model: Any, config: TrainingConfig) -> DiffusionRun | LanguageRun:
    """The `Run` of a pipeline or of a language model, in any form that `steerable` takes."""
    return LanguageRun(model, config) if is_language_model(model) else DiffusionRun(model, config)
