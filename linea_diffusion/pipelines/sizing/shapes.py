"""A pipeline without numbers: its models are shapes on the meta device, made from configuration files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline

from ...errors import LineaError, reason
from ...shapeland import LOAD_ARGUMENTS, MODELS


class _ShapesOnly(diffusers.EulerDiscreteScheduler):
    """A scheduler of one step for latents without numbers, whatever it is asked for."""

    def set_timesteps(self, count: int | None = None, device: Any = None, sigmas: Any = None, **_: Any) -> None:
        self.timesteps, self.num_inference_steps = torch.ones(1, device=device), 1

    def scale_model_input(self, sample: torch.Tensor, *_: Any) -> torch.Tensor:
        return sample

    def step(self, output: torch.Tensor, timestep: Any, sample: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        return (sample,)


def shapes_of(name: str | Path, dtype: torch.dtype) -> Any:
    """The diffusers pipeline of a folder or Hub id, without its weights, which are neither read nor fetched.

    A call of it makes shapes only, of one denoising step.

    Args:
        name: an embedded model, a diffusers folder or a Hub id.
        dtype: of the weights.

    Raises:
        LineaError: no such model, or a part whose class is made from more than its configuration.
    """
    place = str(MODELS.get(str(name), name))
    arguments = LOAD_ARGUMENTS.get(str(name), {})
    try:
        index = DiffusionPipeline.load_config(place)
        parts = {part: _model_of(place, part, entry, dtype) for part, entry in index.items() if _names_class(entry)}
        models = {part: model for part, model in parts.items() if model is not None and part not in arguments}
        pipe = DiffusionPipeline.from_pretrained(place, **models, **arguments)
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise LineaError(
            f"got model {str(name)!r}, whose shapes cannot be told ({reason(error)}): expected a diffusers folder or a "
            "reachable Hub id"
        ) from None
    return without_numbers(pipe)


def without_numbers(pipe: Any) -> Any:
    """A pipeline on the meta device, with a scheduler that such latents can have."""
    pipe.register_modules(scheduler=_ShapesOnly())
    return pipe


def _names_class(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and None not in entry


def _model_of(place: str, part: str, entry: list[str], dtype: torch.dtype) -> torch.nn.Module | None:
    """A model's shapes; None for what is no model (tokenizers, schedulers) or has a class of its own."""
    library, name = entry
    kind: Any = getattr({"diffusers": diffusers, "transformers": transformers}.get(library), name, None)
    if kind is None:
        return None
    with torch.device("meta"):
        if issubclass(kind, diffusers.ModelMixin):
            model = kind.from_config(kind.load_config(place, subfolder=part))
        elif issubclass(kind, transformers.PreTrainedModel):
            model = kind(kind.config_class.from_pretrained(place, subfolder=part))
        else:
            return None
    return torch.nn.Module.to(model, dtype=dtype).eval().requires_grad_(False)
