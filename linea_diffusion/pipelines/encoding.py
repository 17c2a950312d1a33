"""Prompts encoded ahead of a call, steered as the call would have steered them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from ..steering.dial import Composition, Dial, SteeringGuidance
from ..steering.steer import steer
from .adapters import Adapters, Strengths
from .prompts import missing_rows, repeat_arguments, repeat_prompt, running_call

_STEERED: Any = WeakTensorKeyDictionary()
"""Embeddings that were made here -> the `Setting.key` of what steered them."""


def steered_encode_prompt(base: Any, steering: Adapters) -> Callable[..., Any]:
    """A pipeline's ``encode_prompt`` with ``strength``, ``composition``, ``calibrated`` and ``steering_guidance``.

    Without a strength the embeddings are the base model's. With one they are those that a call with these arguments
    would make: handed to such a call in place of the prompt, they give the same picture bit for bit. One prompt with a
    list of strengths gives a row for each.

    Args:
        base: a diffusers pipeline.
        steering: the maps that are loaded.
    """
    plain = base.encode_prompt

    @functools.wraps(plain)
    def encode_prompt(
        *args: Any,
        strength: Strengths | None = None,
        composition: Composition = "sum",
        calibrated: bool | None = None,
        steering_guidance: SteeringGuidance = "both",
        **kwargs: Any,
    ) -> Any:
        if strength is None:
            return plain(*args, **kwargs)
        arguments = inspect.signature(plain).bind(*args, **kwargs).arguments
        arguments.update(arguments.pop("kwargs", {}))
        prompt, dial = arguments.pop("prompt", None), Dial(composition, steering_guidance, calibrated=calibrated)
        setting = steering.at(strength, dial)
        rows = missing_rows(prompt, setting.rows, arguments)
        if rows is not None:
            prompt, arguments = repeat_prompt(prompt, rows), repeat_arguments(arguments, rows, base)
        with torch.no_grad(), steer(base, setting.layers, dial, running_call(prompt, arguments)):
            made = plain(prompt, **arguments)
        for embeddings in _tensors(made):
            _STEERED[embeddings] = setting.key
        return made

    return encode_prompt


def keys_in(arguments: Mapping[str, Any]) -> list[tuple[object, ...]]:
    """The `Setting.key` of each of a call's embeddings that `steered_encode_prompt` made."""
    tensors = [one for value in arguments.values() for one in _tensors(value)]
    return [_STEERED[one] for one in tensors if one in _STEERED]


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
