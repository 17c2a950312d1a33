"""Rendering a batch: one call for jobs of one shape; when it fails, smaller ones, until the culprit stands alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import LineaError, reason
from ..pipelines.calling import accepts, generators
from ..pipelines.overflow import refusing
from ..pipelines.pipeline import LinEASDiffusionPipeline
from .batch_size import BatchSize, is_out_of_memory
from .describing import FlaggedError
from .jobs.jobs import Job
from .jobs.pictures import is_picture, open_picture
from .jobs.styles import Styles

Outcome = tuple[Job, Image.Image | LineaError]
"""A job and its image, or why there is none."""


class Renderer:
    """Runs batches of jobs on one pipeline.

    Args:
        pipe: whose models and default arguments are used; its own adapters and hooks stay as they are.
        styles: where the jobs' steering is found.
        size: told when memory runs out.
    """

    def __init__(self, pipe: LinEASDiffusionPipeline, styles: Styles, size: BatchSize) -> None:
        self._pipe = LinEASDiffusionPipeline(pipe.base)
        self._styles, self._size = styles, size
        self._exact = accepts(pipe.base, "output_type")

    def render(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The images of jobs of one shape, in the order of the jobs.

        A batch that fails is run in halves, and those in halves, so that a job which fails takes no other with it. A
        batch for which memory runs out is run in pieces of half the size, and so are all later ones.

        Raises:
            LineaError: the device itself is broken, so that nothing more can run on it.
        """
        pending = [list(jobs)]
        while pending:
            group = pending.pop()
            images = self._attempt(group)
            if not isinstance(images, Exception):
                yield from zip(group, images, strict=True)
                continue
            if _is_fatal(images):
                raise LineaError(
                    f"got an error of the device, after which nothing runs ({reason(images)}): start again to go on"
                )
            if len(group) == 1:
                yield group[0], LineaError(_why(images))
                continue
            piece = -(-len(group) // 2)
            if is_out_of_memory(images):
                piece = min(piece, self._size.shrink(group[0], len(group)))
            pending += reversed([group[start : start + piece] for start in range(0, len(group), piece)])

    def _attempt(self, jobs: list[Job]) -> list[Image.Image | LineaError] | Exception:
        """The images, or the exception without its traceback, which would keep the memory of the failed call."""
        try:
            self._size.begin()
            images = self._call(jobs)
            self._size.learn(jobs[0], len(jobs))
            return images
        except Exception as error:  # noqa: BLE001  whatever a pipeline raises is the job's failure
            failure: Exception = error.with_traceback(None)
            failure.__context__ = failure.__cause__ = None
        if is_out_of_memory(failure):
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return failure

    def _call(self, jobs: list[Job]) -> list[Image.Image | LineaError]:
        arguments = _arguments(jobs)
        if self._exact:
            arguments["output_type"] = "np"
        dials = {**jobs[0].dials, "calibrated": False}  # positions are read already
        with refusing():
            result = self._pipe(
                [job.prompt for job in jobs], strength=self._strengths(jobs),
                generator=generators([job.seed for job in jobs]), **dials, **arguments,
            )  # fmt: skip
        images = result.images
        if len(images) != len(jobs):
            raise LineaError(f"got {len(images)} images for {len(jobs)} jobs: expected a pipeline that makes one each")
        return [_checked(image, flag) for image, flag in zip(images, _flags(result, len(images)), strict=True)]

    def _strengths(self, jobs: list[Job]) -> dict[str, list[float]]:
        """Loads the batch's styles, in the order in which they act, and says how strong each is in each row."""
        names = list(dict.fromkeys(name for job in jobs for name in job.positions))
        self._pipe.steering.clear()
        for name in names:
            self._pipe.steering[name] = self._styles[name]
        return {name: [job.positions.get(name, 0.0) for job in jobs] for name in names}


def _arguments(jobs: list[Job]) -> dict[str, Any]:
    """The arguments of the base pipeline: one each, or one for all."""
    first = jobs[0].arguments
    arguments: dict[str, Any] = {}
    for name, value in first.items():
        opened = open_picture if is_picture(name, value) else _itself
        own = [opened(job.arguments[name]) for job in jobs] if name in jobs[0].rows else opened(value)
        arguments["denoising_strength" if name == "strength" else name] = own
    if jobs[0].negative_prompt is not None:
        arguments["negative_prompt"] = [job.negative_prompt for job in jobs]
    return arguments


def _itself(value: Any) -> Any:
    return value


def _flags(result: Any, count: int) -> list[bool]:
    """What a safety checker said of each image; pipelines call it by one of two names."""
    for name in ("nsfw_content_detected", "nsfw_detected"):
        flags = getattr(result, name, None)
        if isinstance(flags, list | tuple) and len(flags) == count:
            return [bool(flag) for flag in flags]
    return [False] * count


def _checked(image: Any, flagged: bool) -> Image.Image | LineaError:
    """An image as its pipeline would have made it from the numbers, unless they are none or were made black."""
    if flagged:
        return FlaggedError(
            "got a picture that the model's safety checker took for unsafe and made black: try another seed or "
            "prompt, or less strength"
        )
    if isinstance(image, Image.Image):
        return image
    if not np.isfinite(image).all():
        return LineaError(
            "got an image with numbers that are not finite, which would be black: try bfloat16 or float32, or less "
            "strength"
        )
    levels = (np.asarray(image) * 255).round().astype("uint8")
    return Image.fromarray(levels.squeeze(-1) if levels.shape[-1] == 1 else levels)


def _why(error: Exception) -> str:
    if isinstance(error, LineaError):
        return str(error)
    if is_out_of_memory(error):
        return f"memory ran out with this image alone ({reason(error)}): expected a smaller one, or a smaller dtype"
    return f"the pipeline raised {type(error).__name__}: {reason(error)}"


def _is_fatal(error: Exception) -> bool:
    return isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)
