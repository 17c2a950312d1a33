"""What the matrix of pipelines knows of each entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One pipeline class at tiny size.

    Attributes:
        key: in diffusers' ``AUTO_TEXT2IMAGE_PIPELINES_MAPPING``, or a name of our own for image-to-image classes.
        build: makes the pipeline; the same weights every time.
        arguments: what its user passes beside prompt, generator and output_type: steps, size, control pictures ...
        per_image: those of the arguments that hold one entry per picture of the batch, made for n pictures.
    """

    key: str
    build: Callable[[], Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    per_image: Callable[[int], Mapping[str, Any]] = lambda count: {}
