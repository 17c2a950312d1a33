"""Shapeland, the embedded world: pictures with known truth, and models trained on them.

    objects, styles, world (scene -> pixels), captions; classifier, truth (what a picture really shows)
    wordland/ (texts with known tone, topic and register)
    weights/ (the models), pretrain/ (how they were made)

Imports concepts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .classifier import TruthClassifier

WEIGHTS = Path(__file__).parent / "weights"
MODELS = {name: WEIGHTS / name for name in ("shapeland-unet", "shapeland-dit")}
"""Embedded pipelines: name -> ordinary diffusers folder."""
LANGUAGE_MODELS = {"wordland-lm": WEIGHTS / "wordland-lm"}
"""The embedded language model: name -> ordinary transformers folder."""
DEFAULT_ARGUMENTS = {
    "shapeland-unet": {"num_inference_steps": 8, "guidance_scale": 1.0},
    "shapeland-dit": {"num_inference_steps": 12, "guidance_scale": 1.0, "max_sequence_length": 1},
}
"""What each embedded pipeline is best called with."""
LOAD_ARGUMENTS = {"shapeland-dit": {"text_encoder_3": None, "tokenizer_3": None}}
"""What diffusers must be told to load each: this one does without the class's T5."""
STYLES = WEIGHTS / "styles"
"""Styles that were learned on embedded models by the default recipe: in a folder for each model one for each style."""
_WITHOUT_COLOUR = ("blueprint", "pencil sketch")
"""Styles that do not show an object's colour; they come last."""
CLIPS = {"shapeland-clip": WEIGHTS / "shapeland-clip"}
"""Embedded open_clip models: name -> folder with ``open_clip_config.json``."""


def learned_styles(model: str) -> dict[str, Path]:
    """Name -> folder of the packaged maps for a model, neon first; none for a model that is not embedded.

    Args:
        model: its name.
    """
    folders = (STYLES / model).iterdir() if model in MODELS and (STYLES / model).is_dir() else []
    found = {folder.name.replace("-", " "): folder for folder in folders if folder.is_dir()}
    order = sorted(found, key=lambda name: (name in _WITHOUT_COLOUR, name != "neon", name))
    return {name: found[name] for name in order}


def load_truth_classifier() -> TruthClassifier:
    """The embedded `TruthClassifier`, which reads object, colour, style and amount off a picture."""
    from .classifier import load_classifier

    return load_classifier(WEIGHTS / "truth-classifier" / "model.safetensors")
