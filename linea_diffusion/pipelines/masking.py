"""Steering in a part of the picture: by what activations know of places, or by two pictures in one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from diffusers.modular_pipelines.modular_pipeline import PipelineState
from PIL import Image

from ..errors import LineaError, short
from ..steering.parsing import MASKINGS
from ..steering.region import Region, resized

Masking = Literal["pictures", "activations", "activations+text"]


def check_masking(masking: Any) -> None:
    """Whether that is a way to limit steering to a part of the picture.

    Raises:
        LineaError: it is not.
    """
    if masking not in MASKINGS:
        raise LineaError(f"got masking {short(masking)}: expected one of {', '.join(MASKINGS)}")


def region_in_activations(mask: Any, masking: Masking) -> tuple[Region | None, bool]:
    """The region that a call names, and whether it is looked up in activations.

    Raises:
        LineaError: no mask, see `Region`, or no way to use it.
    """
    check_masking(masking)
    region = None if mask is None else Region(mask, text=masking != "activations+text")
    return region, masking != "pictures"


def composed_output(steered: Any, plain: Any, region: Region) -> Any:
    """What a pipeline returns for a steered call, with the pictures of an unsteered one outside of a region.

    Args:
        steered: a tuple, an output of diffusers', or what a modular pipeline gives back, whose pictures (or videos)
            are PIL images, arrays (n, h, w, c), tensors (n, c, h, w), or frames of these.
        plain: likewise, from the same noise.
        region: masks for all pictures, or one for each.

    Raises:
        LineaError: an output that is no pictures, such as packed latents.
    """
    if isinstance(steered, tuple):
        return (_composed(steered[0], plain[0], region), *steered[1:])
    if not isinstance(steered, dict | PipelineState):  # what a modular pipeline was asked for by name
        return _composed(steered, plain, region)
    numbers, others = (one.values if isinstance(one, PipelineState) else one for one in (steered, plain))
    name = next((one for one in ("images", "videos", "frames") if one in numbers), "images")
    numbers[name] = _composed(numbers.get(name), others.get(name), region)
    return steered


def _composed(steered: Any, plain: Any, region: Region) -> Any:
    """Pictures of a call, in the form of its output."""
    if not isinstance(steered, list) and getattr(steered, "ndim", 0) < 4:
        raise LineaError(
            f"got a mask and an output {type(steered).__name__} that is no pictures: expected output_type 'pil', 'np' "
            "or 'pt', or masking='activations'"
        )
    masks = [region.masks[row * len(region) // len(steered)] for row in range(len(steered))]
    rows = [_one(one, other, mask) for one, other, mask in zip(steered, plain, masks, strict=True)]
    if isinstance(steered, list):
        return rows
    return np.stack(rows) if isinstance(steered, np.ndarray) else torch.stack(rows)


def _one(steered: Any, plain: Any, mask: torch.Tensor) -> Any:
    """One picture, or the frames of a video."""
    if isinstance(steered, list):
        return [_one(one, other, mask) for one, other in zip(steered, plain, strict=True)]
    if isinstance(steered, Image.Image):
        shares = resized(mask, steered.height, steered.width)[0, 0]
        return Image.composite(steered, plain, Image.fromarray((shares * 255).round().to(torch.uint8).numpy()))
    if isinstance(steered, torch.Tensor):
        return torch.lerp(plain, steered, resized(mask, *steered.shape[-2:])[0].to(steered))
    first, second = (torch.from_numpy(one).movedim(-1, -3) for one in (steered, plain))
    return _one(first, second, mask).movedim(-3, -1).numpy()
