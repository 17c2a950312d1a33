"""A language model in the form in which steering takes models: as a pipeline of one component."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import LineaError, short
from .addresses import LANGUAGE_MODEL


class LanguageModel:
    """A causal language model of transformers with its tokenizer.

    It stands wherever a diffusers pipeline does: `find_modules`, `train_steering_maps`, `SteeringMaps.apply`.

    Args:
        model: such as an ``AutoModelForCausalLM``; shared, not copied.
        tokenizer: which training and texts need; `SteeringMaps.apply` does without.

    Attributes:
        model: the model.
        tokenizer: its tokenizer, or None.

    Raises:
        LineaError: a model that generates nothing.
    """

    def __init__(self, model: nn.Module, tokenizer: Any = None) -> None:
        if not (isinstance(model, nn.Module) and callable(getattr(model, "generate", None))):
            raise LineaError(
                f"got a {type(model).__name__} as language model: expected a causal language model of transformers, "
                "such as AutoModelForCausalLM.from_pretrained(...)"
            )
        self.model, self.tokenizer = model, tokenizer

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, {self.name_or_path or 'unnamed'})"

    @property
    def components(self) -> dict[str, Any]:
        """Name -> part, as pipelines have them."""
        return {LANGUAGE_MODEL: self.model, "tokenizer": self.tokenizer}

    @property
    def config(self) -> Any:
        """The model's own."""
        return self.model.config

    @property
    def name_or_path(self) -> str:
        """Where the model came from; empty if it was made in another way."""
        return str(getattr(self.model.config, "_name_or_path", "") or "")

    @property
    def device(self) -> torch.device:
        """Where the model reads tokens."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's weights."""
        return next(self.model.parameters()).dtype


def steerable(model: Any) -> Any:
    """A pipeline or `LanguageModel` as steering takes it, of whatever people have.

    Args:
        model: a pipeline, a wrapper of one (its ``base``), a `LanguageModel`, a causal language model of transformers,
            or a ``text-generation`` pipeline of transformers.

    Raises:
        LineaError: none of these.
    """
    base = getattr(model, "base", model)
    if hasattr(base, "components"):
        return base
    if getattr(base, "task", None) == "text-generation":
        return LanguageModel(base.model, base.tokenizer)
    if isinstance(base, nn.Module):
        return LanguageModel(base)
    raise LineaError(
        f"got {short(base)}: expected a diffusers pipeline, a LanguageModel(model, tokenizer), a causal language model "
        "or a text-generation pipeline of transformers"
    )


def is_language_model(model: Any) -> bool:
    """Whether what people have is a language model, in any of its forms; see `steerable`."""
    return isinstance(steerable(model), LanguageModel)
