"""Prompts encoded ahead of a call, steered as the call would have steered them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from ..steering.rows import SteeringGuidance
from ..steering.sites import Composition
from ..steering.steer import steer
from .adapters import Adapters, StrengthArgument
from .prompts import count_prompts, images_per_prompt, repeat_arguments, repeat_prompt, rows_wanted

_STEERED: Any = WeakTensorKeyDictionary()
"""Embeddings that were made here -> how they were steered."""


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
        strength: StrengthArgument | Mapping[str, StrengthArgument] | None = None,
        composition: Composition = "sum",
        calibrated: bool | None = None,
        steering_guidance: SteeringGuidance = "both",
        **kwargs: Any,
    ) -> Any:
        if strength is None:
            return plain(*args, **kwargs)
        given = inspect.signature(plain).bind(*args, **kwargs).arguments
        given.update(given.pop("kwargs", {}))
        prompt, strengths = given.pop("prompt", None), steering.positions(steering.strengths(strength), calibrated)
        how = _how(strengths, composition, steering_guidance, *steering.values())
        rows = rows_wanted(prompt, strengths, given)
        if rows is not None:
            prompt, given = repeat_prompt(prompt, rows), repeat_arguments(given, rows, base)
        adapters = [(maps, _single(strengths[name])) for name, maps in steering.items()]
        with (
            torch.no_grad(),
            steer(
                base, adapters, composition=composition, guidance=steering_guidance, in_layers=True,
                prompts=count_prompts(prompt, given), num_images_per_prompt=images_per_prompt(given),
            ),
        ):  # fmt: skip
            made = plain(prompt, **given)
        for embeddings in _tensors(made):
            _STEERED[embeddings] = how
        return made

    return encode_prompt


def _single(strength: torch.Tensor) -> torch.Tensor:
    return strength.reshape(()) if strength.numel() == 1 else strength


def carry(arguments: Mapping[str, Any], strengths: Mapping[str, torch.Tensor], *dial: object) -> bool:
    """Whether a call is given embeddings that `steered_encode_prompt` made with its maps, strengths and dial."""
    how = _how(strengths, *dial)
    return any(_STEERED.get(one) == how for value in arguments.values() for one in _tensors(value))


def _how(strengths: Mapping[str, torch.Tensor], *dial: object) -> tuple[object, ...]:
    return ({name: values.reshape(-1).tolist() for name, values in strengths.items()}, *dial)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
