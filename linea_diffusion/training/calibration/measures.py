"""What a dial is calibrated by: an amount that is read off pictures, or the way that latents have gone.

A `Reading` renders some prompts, always from the same noise, at any strengths of a set of maps. Strengths are here what
maps know, shares of the way in activations, whatever calibration the maps carry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ...concepts.concept import StyleTexts
from ...errors import LineaError
from ...maps.steering_maps import SteeringMaps
from ...pipelines.calling import for_base, frozen, generators
from ...pipelines.modular import accepts, called, made_of
from ...pipelines.prompts import repeat_arguments
from ...pipelines.rendering.batch_size import BatchSize
from ...pipelines.rendering.render import render_prompts

if TYPE_CHECKING:
    from ...scoring.clip_scorer import ClipScorer

Measure = Callable[[Sequence[Image.Image]], np.ndarray]
"""Pictures -> amount of style, (n,), any unit."""
Reading = Callable[[Sequence[float]], np.ndarray]
"""Strengths (k,) -> a number for each of n pictures at each of them, (k, n), any unit."""

_LEAST_WAY = 1e-3
"""Latents that differ by less than this share of their own length differ by rounding."""


def clip_measure(scorer: ClipScorer, texts: StyleTexts) -> Measure:
    """Amount of style by CLIP: raw cosine with the style's text minus that with the neutral text, (n,).

    A difference of cosines goes on rising where a zero-shot probability is at its ceiling.
    """
    directions = scorer.embed_texts([texts.text, texts.neutral])

    def measure(images: Sequence[Image.Image]) -> np.ndarray:
        cosines = scorer.embed_images(images) @ directions.T
        return (cosines[:, 0] - cosines[:, 1]).numpy()

    return measure


def picture_measure(
    pipe: Any,
    maps: SteeringMaps,
    prompts: Sequence[str],
    seeds: Sequence[int],
    measure: Measure,
    *,
    batch_size: int = 32,
    **arguments: Any,
) -> Reading:
    """A reading of pictures, one strength after the other.

    Args:
        pipe: a diffusers pipeline.
        maps: that steer it.
        prompts: n prompts.
        seeds: n seeds.
        measure: what is read off the pictures, such as `clip_measure`.
        batch_size: pictures at once.
        **arguments: of the pipeline's calls.
    """
    settings = {**arguments, "batch_size": BatchSize(batch_size, pipe)}

    def read(strengths: Sequence[float]) -> np.ndarray:
        amounts = []
        for strength in strengths:
            with maps.apply(pipe, strength, calibrated=False):
                amounts.append(measure(render_prompts(pipe, prompts, seeds, **settings)))
        return np.stack(amounts)

    return read


def progress_measure(
    pipe: Any,
    maps: SteeringMaps,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    batch_size: int = 32,
    **arguments: Any,
) -> Reading:
    """A reading that needs no CLIP: the share of its own way that each picture has gone, in [0, 1].

    With x_s the latents at strength s, that is <x_s - x_0, x_1 - x_0> / |x_1 - x_0|^2: 0 for the unsteered picture, 1
    for the one at full strength. Both are rendered at once; other strengths come as rows of common batches. A picture
    that the maps leave alone stays at 0.

    Args:
        pipe: a diffusers pipeline; one that gives no latents is measured on pixels.
        maps: that steer it.
        prompts: n prompts.
        seeds: n seeds.
        batch_size: pictures at once, of any strengths; 1 for a pipeline that cannot give each row its own.
        **arguments: of the pipeline's calls, as for one prompt.

    Raises:
        LineaError: numbers that are not finite, here or in a reading.
    """

    def latents(strengths: Sequence[float]) -> torch.Tensor:
        """Of every prompt at every strength, (k, n, d)."""
        rows = [(prompt, seed, one) for one in strengths for prompt, seed in zip(prompts, seeds, strict=True)]
        return latents_of(pipe, maps, rows, batch_size, arguments).unflatten(0, (len(strengths), len(prompts)))

    unsteered, full = latents([0.0, 1.0])
    way = full - unsteered
    length = way.square().sum(dim=-1)
    moved = length > _LEAST_WAY**2 * unsteered.square().sum(dim=-1)

    def read(strengths: Sequence[float]) -> np.ndarray:
        progress = {0.0: torch.zeros_like(length), 1.0: moved.double()}
        between = [one for one in strengths if one not in progress]
        if between:
            gone = ((latents(between) - unsteered) * way).sum(dim=-1) / torch.where(moved, length, 1.0)
            progress |= dict(zip(between, gone.clamp(0, 1) * moved, strict=True))
        return torch.stack([progress[one] for one in strengths]).numpy()

    return read


def latents_of(
    pipe: Any,
    maps: SteeringMaps,
    rows: Sequence[tuple[str, int, float]],
    batch_size: int,
    arguments: Mapping[str, Any],
) -> torch.Tensor:
    """Latents of rows of prompt, seed and strength of the maps, (rows, d), float64; pixels where there are no latents.

    Raises:
        LineaError: numbers that are not finite.
    """
    arguments = for_base(pipe, arguments)
    with frozen(pipe):
        parts = [
            _latents(pipe, maps, rows[start : start + batch_size], arguments)
            for start in range(0, len(rows), batch_size)
        ]
    return torch.cat(parts)


def _latents(
    pipe: Any, maps: SteeringMaps, rows: Sequence[tuple[str, int, float]], arguments: Mapping[str, Any]
) -> torch.Tensor:
    """What one call makes of rows of prompt, seed and strength: (rows, d), float64."""
    prompts, seeds, strengths = (list(column) for column in zip(*rows, strict=True))
    settings = repeat_arguments(arguments, len(rows), pipe)
    if accepts(pipe, "output_type"):
        settings["output_type"] = "latent"
    dial = strengths[0] if len(set(strengths)) == 1 else strengths
    with maps.apply(pipe, dial, calibrated=False):
        made = made_of(called(pipe, prompts, generator=generators(seeds), **settings))
    numbers = _numbers(made)
    if len(numbers) != len(rows) or not bool(numbers.isfinite().all()):
        raise LineaError(
            f"got latents {tuple(numbers.shape)} for {len(rows)} prompts, or numbers that are not finite, at strengths "
            f"{min(strengths):g} to {max(strengths):g}: expected a finite picture each; try float32 or bfloat16"
        )
    return numbers


def _numbers(made: Any) -> torch.Tensor:
    """Latents, arrays or pictures as float64 numbers on the CPU, (rows, d)."""
    if isinstance(made, list | tuple):
        return torch.cat([_numbers(one).reshape(1, -1) for one in made])
    latents = made if isinstance(made, torch.Tensor) else torch.from_numpy(np.array(made))
    return latents.detach().double().cpu().flatten(1)
