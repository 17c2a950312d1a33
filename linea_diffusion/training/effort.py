"""How much work a training is, in passes of the denoiser, before it begins."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..concepts.concept import Concept
from ..pipelines.calling import without_bar
from ..pipelines.choices.calls import is_guided, setting
from ..pipelines.modular import accepts, called, made_of
from ..steering.language import LanguageModel, is_language_model, steerable
from .calibration.reach import CALIBRATED, STRETCHES
from .config import TrainingConfig
from .loss.targets import recorded_sides

BACKWARD = 2.0
"""Passes that a backward pass is worth, about."""
POINTS = 9
"""Strengths that `calibrate_progress` measures at most."""


@dataclass(frozen=True)
class Effort:
    """What a stage of work takes.

    Attributes:
        stage: its name, as its bar has it.
        passes: of the denoiser, each of one row of a batch; guidance takes two rows for a picture.
        pictures: that it makes.
    """

    stage: str
    passes: float
    pictures: int = 0


def training_effort(pipe: Any, concept: Concept, config: TrainingConfig) -> list[Effort]:
    """The stages of a training.

    Args:
        pipe: a `LinEASDiffusionPipeline`, or a diffusers pipeline.
        concept: what is learned.
        config: settings `for_concept`.
    """
    guidance = {} if config.guidance_scale is None else {"guidance_scale": config.guidance_scale}
    each = 1
    if not is_language_model(pipe):
        each = config.num_inference_steps * (2 if is_guided(pipe, {**guidance, **config.call_arguments}) else 1)
    sides, levels = recorded_sides(concept, config)
    recorded = sum(map(len, sides)) + sum(len(level.target) for level in levels)
    rows = min(config.batch_size or len(concept.source), len(concept.source))
    again = config.micro_batch_size is not None and config.micro_batch_size < rows
    one = each * (1 + BACKWARD + again + config.gradient_checkpointing)
    few = min(CALIBRATED, len(concept.source))
    efforts = [Effort("record", recorded * each), Effort("learn", config.iterations * rows * one)]
    if config.stretch is None and config.pairing == "rows":
        efforts.append(Effort("reach", (2 + len(STRETCHES)) * few * each))
    if config.calibrate:
        efforts.append(Effort("calibrate", POINTS * few * each))
    return efforts


def picture_effort(pipe: Any, stage: str, pictures: int, arguments: Mapping[str, Any]) -> Effort:
    """A stage that renders pictures; what decodes one is worth about a pass.

    Args:
        pipe: a `LinEASDiffusionPipeline`, or a diffusers pipeline.
        stage: its name.
        pictures: how many.
        arguments: of the pipeline's calls, by its own names.
    """
    return Effort(stage, pictures * (passes_of_picture(pipe, arguments) + 1), pictures)


def passes_of_picture(pipe: Any, arguments: Mapping[str, Any]) -> int:
    """Rows of the denoiser for one picture: its steps, twice where it is guided."""
    steps = setting(pipe, arguments, "num_inference_steps")
    return int(steps or 1) * (2 if is_guided(pipe, arguments) else 1)


def _seconds_of_text(base: LanguageModel, rows: int) -> float:
    """Of one row of a language model that reads a prompt of sixteen tokens."""
    ids = torch.zeros(rows, 16, dtype=torch.long, device=base.device)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        with torch.no_grad():
            float(base.model(input_ids=ids, use_cache=False)[0].float().mean())
        times.append((time.perf_counter() - began) / rows)
    return times[-1]


def seconds_of_pass(pipe: Any, arguments: Mapping[str, Any], *, rows: int = 8) -> float:
    """About how long one row of the denoiser takes here: measured in one step of a call, with its text encoders; of a
    language model, one row of a prompt.

    Args:
        pipe: a `LinEASDiffusionPipeline`, or a diffusers pipeline.
        arguments: of its calls, such as height and width.
        rows: that run at once; large models are measured with one.
    """
    base = steerable(pipe)
    if isinstance(base, LanguageModel):
        return _seconds_of_text(base, rows)
    settings = {**getattr(pipe, "default_arguments", {}), **arguments}
    for name, value in (("num_inference_steps", 1), ("guidance_scale", 1.0), ("output_type", "latent")):
        if accepts(base, name):
            settings[name] = value
    settings.pop("negative_prompt", None)

    def once(count: int) -> float:
        began = time.perf_counter()
        made = made_of(called(base, ["a picture"] * count, **settings))
        if isinstance(made, torch.Tensor):
            float(made.float().mean())  # what a device tells, it has done
        return (time.perf_counter() - began) / count

    with without_bar(base):
        first = once(1)
        return first if first > 1 else once(rows)
