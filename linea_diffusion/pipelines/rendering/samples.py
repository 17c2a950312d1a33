"""The row of pictures that a model card shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...maps.card import Samples
from ...maps.steering_maps import SteeringMaps
from ..pipeline import LinEASDiffusionPipeline
from .render import images_of
from .requests import requests_of

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def render_samples(
    pipe: Any,
    maps: SteeringMaps,
    prompt: str,
    strengths: Sequence[float] = STRENGTHS,
    *,
    seed: int = 0,
    **arguments: Any,
) -> Samples:
    """One prompt at some strengths of a set of maps, from one noise, for ``maps.push_to_hub(..., samples=)``.

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`, whose own adapters rest.
        maps: that are shown.
        prompt: of all pictures.
        strengths: one picture each.
        seed: of the noise.
        **arguments: of the pipeline's calls.
    """
    shown = LinEASDiffusionPipeline(getattr(pipe, "base", pipe))
    shown.default_arguments.update(getattr(pipe, "default_arguments", {}))
    name = shown.load_steering(maps)
    rows = [(prompt, seed, {name: strength}) for strength in strengths]
    images = images_of(shown, requests_of(shown, rows, arguments), len(strengths))
    return Samples(prompt, dict(zip(strengths, images, strict=True)))
