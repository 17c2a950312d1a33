"""Prompts and strengths broadcast against each other: one prompt at several strengths shares one noise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import LineaError
from ..steering.calls.call import RunningCall
from ..steering.region import Region
from ..steering.weights.carried import carried
from .modular import accepts


def spread(prompt: Any, rows: int | None, arguments: Mapping[str, Any], pipe: Any) -> tuple[Any, dict[str, Any]]:
    """A call's prompt and further arguments with as many rows as there are strengths.

    One prompt for several strengths is repeated, and every row begins from the same noise.

    Args:
        prompt: a text, a list of texts, or None with ``prompt_embeds`` among the arguments.
        rows: strengths of the call; None if there is one for all rows.
        arguments: of the base pipeline.
        pipe: the base pipeline; noise is drawn on its device if no generator is given.

    Raises:
        LineaError: strengths that do not fit the prompts, or an argument that cannot be repeated.
    """
    rows = missing_rows(prompt, rows, arguments)
    if rows is None:
        return prompt, dict(arguments)
    images = images_per_prompt(arguments)
    repeated = repeat_arguments(arguments, rows, pipe)
    repeated["generator"] = _same_noise(arguments.get("generator"), images, rows, pipe.device)
    return repeat_prompt(prompt, rows), repeated


def rows_of(strengths: int | None, region: Region | None, prompt: Any, arguments: Mapping[str, Any]) -> int | None:
    """How many rows a call's strengths and masks are for; None if there is one of each for all rows.

    Raises:
        LineaError: lists of different lengths.
    """
    masks, images = 1 if region is None else len(region), images_per_prompt(arguments)
    if masks in (1, (strengths or count_prompts(prompt, arguments)) * images):
        return strengths
    if strengths and strengths != masks:
        raise LineaError(f"got {strengths} strengths and {masks} masks: expected as many, or one of either for all")
    return masks


def missing_rows(prompt: Any, rows: int | None, arguments: Mapping[str, Any]) -> int | None:
    """How many rows one prompt is to be repeated for; None if all stays as it is.

    Args:
        prompt: of a call.
        rows: strengths of the call; None if there is one for all rows.
        arguments: of the base pipeline.

    Raises:
        LineaError: strengths that do not fit the prompts.
    """
    present = count_prompts(prompt, arguments)
    if rows is None or present == rows:
        return None
    if present != 1:
        raise LineaError(
            f"got {rows} strengths and {present or 'no'} prompts: expected one prompt, or one for each of the "
            "strengths or masks"
        )
    return rows


def running_call(
    prompt: Any, arguments: Mapping[str, Any], *, encoded: bool = False, inside: bool = False
) -> RunningCall:
    """What is known of a call before it begins, as `steer` takes it.

    Args:
        prompt: with as many rows as there are strengths.
        arguments: of the base pipeline, likewise.
        encoded: whether they hold embeddings that were steered like the call.
        inside: whether the pipeline has been called already, see `RunningCall`.
    """
    prompts, images = count_prompts(prompt, arguments), images_per_prompt(arguments)
    height, width = arguments.get("height"), arguments.get("width")
    size = (height, width) if height and width else None
    prompts = max(prompts, 1)
    return RunningCall(prompts=prompts, images=images, carry=carried, encoded=encoded, size=size, inside=inside)


def repeat_prompt(prompt: Any, rows: int) -> list[Any] | None:
    """A prompt, or a list of one, as often as there are rows."""
    return None if prompt is None else [prompt] * rows if isinstance(prompt, str) else list(prompt) * rows


def count_prompts(prompt: Any, arguments: Mapping[str, Any]) -> int:
    """How many prompts a call has: those of `prompt`, or the rows of ``prompt_embeds``; 0 if there are none."""
    if isinstance(prompt, str):
        return 1
    if prompt is not None:
        return len(prompt)
    embeddings = arguments.get("prompt_embeds")
    return 0 if embeddings is None else len(embeddings)


def images_per_prompt(arguments: Mapping[str, Any]) -> int:
    """Pictures, or videos, that a call makes of each prompt."""
    return next((arguments[name] for name in _COUNTS if arguments.get(name)), 1)


def repeat_arguments(arguments: Mapping[str, Any], rows: int, pipe: Any) -> dict[str, Any]:
    """Arguments of one prompt for `rows` prompts.

    What belongs to the prompt is repeated: texts, whatever is encoded from it, latents, and pictures that are painted
    over, one for each row. Pictures that only guide (control pictures, references, IP-Adapter's pictures and their
    embeddings) are handed to all rows by the pipelines themselves; lists of them may mean several for one row.

    Raises:
        LineaError: an argument has neither one row nor as many as there are strengths.
    """
    pictures = _PAINTED if any(accepts(pipe, name) for name in _PAINTS) else ()
    if pictures and arguments.get("padding_mask_crop") is not None:
        raise LineaError(
            f"got padding_mask_crop, which takes one picture, and {rows} strengths: expected one strength a call"
        )
    images = images_per_prompt(arguments)
    return {name: _repeated(name, value, rows, images, pictures) for name, value in arguments.items()}


_COUNTS = ("num_images_per_prompt", "num_videos_per_prompt", "num_waveforms_per_prompt")
_TEXT = re.compile(r"(negative_)?prompt(_\d+)?")
_ENCODED = re.compile(r".*prompt.*|.*attention_mask|prior_token_ids")
_LATENTS = re.compile(r"(.*_)?latents")
_PAINTS = ("strength", "mask_image")
_PAINTED = ("image", "mask_image")
"""The pictures of image-to-image and inpainting pipelines, which are known by having one of `_PAINTS`."""


def _repeated(name: str, value: Any, rows: int, images: int, pictures: Sequence[str]) -> Any:
    """One argument for `rows` prompts instead of one."""
    if isinstance(value, str):
        return [value] * rows if _TEXT.fullmatch(name) else value
    encoded = isinstance(value, torch.Tensor | list) and _ENCODED.fullmatch(name)
    latents = isinstance(value, torch.Tensor) and _LATENTS.fullmatch(name)
    if name in pictures and not latents:
        return _one_picture_each(name, value, rows)
    if not encoded and not latents:
        return value
    if len(value) == 1 or (latents and len(value) == images):
        return value * rows if isinstance(value, list) else value.repeat(rows, *(1,) * (value.ndim - 1))
    if len(value) not in (rows, rows * images):
        raise LineaError(
            f"got {name} of {len(value)} rows, one prompt and {rows} strengths: expected {name} of one row, or of one "
            "for each strength"
        )
    return value


def _one_picture_each(name: str, value: Any, rows: int) -> Any:
    """A picture for each row, of a PIL image, a tensor (c, h, w) or (1, c, h, w), an array (h, w, c), or a list of one.

    Masks may be (n, h, w) as well, as diffusers reads them.

    Raises:
        LineaError: another number of pictures.
    """
    if value is None:
        return None
    if name == "mask_image" and getattr(value, "ndim", None) == 3 and value.shape[-1] != 1:
        value = value[:, None] if isinstance(value, torch.Tensor) else value[..., None]
    if isinstance(value, torch.Tensor):
        value = value.reshape((1,) * (4 - value.ndim) + value.shape)
    elif getattr(value, "ndim", None) == 3:
        value = value[None]
    elif getattr(value, "ndim", None) != 4 and not isinstance(value, list):
        value = [value]
    if len(value) not in (1, rows):
        raise LineaError(
            f"got {name} of {len(value)} pictures, one prompt and {rows} strengths: expected one picture, or one for "
            "each strength"
        )
    times = rows // len(value)
    if isinstance(value, list):
        return value * times
    return value.repeat(times, 1, 1, 1) if isinstance(value, torch.Tensor) else value.repeat(times, axis=0)


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
