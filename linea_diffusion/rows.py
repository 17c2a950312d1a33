"""Prompts and strengths broadcast against each other: one prompt at several strengths shares one noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .errors import LineaError


def spread(
    prompt: Any, strengths: Mapping[str, torch.Tensor], arguments: Mapping[str, Any], device: torch.device
) -> tuple[Any, dict[str, torch.Tensor], dict[str, Any]]:
    """A call's prompt, strengths and further arguments with as many rows each.

    One prompt for several strengths is repeated, and every row begins from the same noise. A list of one strength is
    that strength.

    Args:
        prompt: a text, a list of texts, or None with ``prompt_embeds`` among the arguments.
        strengths: by adapter, () or (n,) each.
        arguments: of the base pipeline.
        device: where noise is drawn if no generator is given.

    Raises:
        LineaError: lists of strengths of different lengths, or lengths that do not fit the prompts.
    """
    strengths = {name: values.reshape(()) if values.numel() == 1 else values for name, values in strengths.items()}
    lengths = {len(values) for values in strengths.values() if values.ndim}
    if not lengths:
        return prompt, strengths, dict(arguments)
    if len(lengths) > 1:
        raise LineaError(f"got strength lists of lengths {sorted(lengths)}: expected equal lengths")
    rows, present = lengths.pop(), count_prompts(prompt, arguments)
    if present == rows:
        return prompt, strengths, dict(arguments)
    if present != 1:
        raise LineaError(
            f"got {rows} strengths and {present or 'no'} prompts: expected one prompt, or one for each strength"
        )
    images = arguments.get("num_images_per_prompt") or 1
    repeated = {name: _repeated(name, value, rows, images) for name, value in arguments.items()}
    repeated["generator"] = _same_noise(arguments.get("generator"), images, rows, device)
    if isinstance(prompt, str):
        prompt = [prompt]
    return None if prompt is None else list(prompt) * rows, strengths, repeated


def count_prompts(prompt: Any, arguments: Mapping[str, Any]) -> int:
    """How many prompts a call has: those of `prompt`, or the rows of ``prompt_embeds``; 0 if there are none."""
    if isinstance(prompt, str):
        return 1
    if prompt is not None:
        return len(prompt)
    embeddings = arguments.get("prompt_embeds")
    return 0 if embeddings is None else len(embeddings)


_TEXTS = ("prompt", "negative_prompt")
_ROWS = ("image", "control_image", "mask_image")


def _repeated(name: str, value: Any, rows: int, images: int) -> Any:
    """One argument for `rows` prompts instead of one: other prompts, their embeddings, latents, lists of one."""
    if name.startswith(_TEXTS):
        if isinstance(value, str):
            return [value] * rows
        if isinstance(value, torch.Tensor) and len(value) == 1:
            return value.repeat(rows, *(1,) * (value.ndim - 1))
    if name == "latents" and isinstance(value, torch.Tensor) and len(value) == images:
        return value.repeat(rows, *(1,) * (value.ndim - 1))
    if (name.startswith(_TEXTS) or name in _ROWS) and isinstance(value, list) and len(value) == 1 and rows > 1:
        return value * rows
    return value


def _same_noise(generator: Any, images: int, rows: int, device: torch.device) -> list[torch.Generator]:
    """Generators for `rows` times the same `images` noises.

    One generator for one picture is copied, so that the row begins with exactly the noise which the base
    pipeline would draw from it; for several pictures it seeds one generator each.
    """
    first: Sequence[torch.Generator]
    if generator is None:
        generator = torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))
    if not isinstance(generator, torch.Generator):
        first = generator
    elif images == 1:
        first = [generator]
    else:
        seeds = torch.randint(2**62, (images,), generator=generator, device=generator.device).tolist()
        first = [torch.Generator(generator.device).manual_seed(seed) for seed in seeds]
    if len(first) != images:
        raise LineaError(f"got {len(first)} generators: expected one, or one for each of {images} images per prompt")
    copies = [[torch.Generator(one.device).set_state(one.get_state()) for one in first] for _ in range(rows - 1)]
    return [*first, *(one for row in copies for one in row)]
