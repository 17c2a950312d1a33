"""Rendering requests: one call for those of one shape; when it fails, smaller ones, until the culprit stands alone."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from PIL import Image

from ...errors import LineaError, reason, short
from ...progress import is_busy
from ..calling import generators, without_bar
from ..modular import called
from ..overflow import look_out, refusing
from ..prompts import repeat_arguments
from .batch_size import BatchSize, BatchSizeArgument, is_out_of_memory
from .requests import R, Request, Strengths, grouped, requests_of

Outcome = Image.Image | LineaError
"""A picture, or why there is none."""


class FlaggedError(LineaError):
    """A picture that the model's safety checker took for unsafe and made black."""


def render(
    pipe: Any,
    requests: Iterable[R],
    size: BatchSizeArgument | BatchSize,
    *,
    window: int | None = None,
    isolate: bool = True,
) -> Iterator[tuple[R, Outcome]]:
    """The pictures of requests, each from its own noise, as they are made.

    Args:
        pipe: a `LinEASDiffusionPipeline`, or a diffusers pipeline for requests without strengths.
        requests: any number of them, read as they are needed.
        size: pictures at once.
        window: as for `grouped`: None keeps the order of the requests.
        isolate: as for `render_group`.

    Raises:
        LineaError: as `render_group`.
    """
    size = size if isinstance(size, BatchSize) else BatchSize(size, getattr(pipe, "base", pipe))
    for group in grouped(requests, size.of, window):
        yield from render_group(pipe, group, size, isolate=isolate)


def images_of(pipe: Any, requests: Iterable[Request], size: BatchSizeArgument | BatchSize) -> Iterator[Image.Image]:
    """The pictures of requests in their order; only a lack of memory is survived, see `render`.

    Raises:
        LineaError: a picture that shows nothing, or that memory has no room for.
    """
    for _, outcome in render(pipe, requests, size, isolate=False):
        if isinstance(outcome, LineaError):
            raise outcome
        yield outcome


def render_prompts(
    pipe: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    strength: Strengths = None,
    batch_size: BatchSizeArgument | BatchSize = 32,
    **arguments: Any,
) -> list[Image.Image]:
    """The pictures of prompts at one strength, each from its own seed.

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        prompts: n prompts.
        seeds: n seeds.
        strength: of the steering, see `Request`.
        batch_size: pictures at once.
        **arguments: of the pipeline's calls, as for one prompt.

    Raises:
        LineaError: as `images_of`, or an argument that rendering sets itself.
    """
    rows = ((prompt, seed, strength) for prompt, seed in zip(prompts, seeds, strict=True))
    return list(images_of(pipe, requests_of(pipe, rows, arguments), batch_size))


def render_group(
    pipe: Any, requests: Sequence[R], size: BatchSize, *, isolate: bool = True
) -> Iterator[tuple[R, Outcome]]:
    """The pictures of requests of one shape, in their order, by one call if it succeeds.

    A call for which memory runs out is made in pieces of half the size, and so are all later ones.

    Args:
        pipe: as for `render`.
        requests: of one shape.
        size: told when memory runs out, and what was taken.
        isolate: a call that fails in another way is made in halves, and those in halves, so that a request which fails
            takes no other with it. False lets the failure be raised as it is.

    Raises:
        LineaError: the device itself is broken, so that nothing more can run on it.
    """
    pending = [list(requests)]
    while pending:
        group = pending.pop()
        most = size.of(group[0])
        if len(group) > most:
            pending.append(group[most:])
            group = group[:most]
        images = _attempt(pipe, group, size, isolate)
        if not isinstance(images, Exception):
            yield from zip(group, images, strict=True)
        elif isinstance(images, torch.AcceleratorError) and not is_out_of_memory(images):
            raise LineaError(
                f"got an error of the device, after which nothing runs ({reason(images)}): start again to go on"
            )
        elif len(group) == 1:
            yield group[0], LineaError(_why(images))
        elif is_out_of_memory(images):
            size.shrink(group[0], len(group))
            pending.append(group)
        else:
            half = -(-len(group) // 2)
            pending += [group[half:], group[:half]]


def _attempt(pipe: Any, group: Sequence[Request], size: BatchSize, isolate: bool) -> list[Outcome] | Exception:
    """The images, or the exception without its traceback, which would keep the memory of the failed call."""
    try:
        size.begin()
        images = _call(pipe, group)
        size.learn(group[0], len(group))
        return images
    except Exception as error:  # whatever a pipeline raises is the request's failure
        if not (isolate or is_out_of_memory(error)):
            raise
        failure: Exception = error.with_traceback(None)
        failure.__context__ = failure.__cause__ = None
    if is_out_of_memory(failure):
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return failure


def _call(pipe: Any, group: Sequence[Request]) -> list[Outcome]:
    """What one call makes of requests of one shape.

    Raises:
        LineaError: numbers that are not finite, which would be black, or another number of pictures.
    """
    base, noise = getattr(pipe, "base", pipe), generators([request.seed for request in group])
    arguments = {**_arguments(base, group), "generator": noise}
    if pipe is not base:
        arguments = _steering(group) | {
            "denoising_strength" if name == "strength" else name: arguments[name] for name in arguments
        }
    elif group[0].strengths is not None or group[0].dial:
        raise LineaError(f"got strengths for a {type(pipe).__name__}: expected a LinEASDiffusionPipeline over it")
    with refusing(), look_out(base) as outlook, without_bar(base) if is_busy() else nullcontext():
        result = called(pipe, [request.prompt for request in group], **arguments)
    if outlook.why:
        raise LineaError(outlook.why)
    images = list(result.images)
    if len(images) != len(group):
        raise LineaError(f"got {len(images)} images for {len(group)} prompts: expected a pipeline that makes one each")
    flags = _flags(result, len(images))
    return [_hidden(request) if flag else image for request, image, flag in zip(group, images, flags, strict=True)]


def _arguments(base: Any, group: Sequence[Request]) -> dict[str, Any]:
    """The arguments of the base pipeline: those of one prompt for as many as there are, or one each."""
    first = group[0]
    shared = {name: first.argument(name) for name in first.arguments if name not in first.rows}
    each = {name: [request.argument(name) for request in group] for name in first.rows}
    return repeat_arguments(shared, len(group), base) | each


def _steering(group: Sequence[Request]) -> dict[str, Any]:
    """The arguments of a call that steer it."""
    strength: Any = group[0].strengths
    if isinstance(strength, Mapping):
        dials: list[Any] = [request.strengths for request in group]
        names = dict.fromkeys(name for dial in dials for name in dial)
        strength = {name: [dial.get(name, 0.0) for dial in dials] for name in names}
    return {"strength": strength, **group[0].steering()}


def _flags(result: Any, count: int) -> list[bool]:
    """What a safety checker said of each image; pipelines call it by one of two names."""
    for name in ("nsfw_content_detected", "nsfw_detected"):
        flags = getattr(result, name, None)
        if isinstance(flags, list | tuple) and len(flags) == count:
            return [bool(flag) for flag in flags]
    return [False] * count


def _hidden(request: Request) -> FlaggedError:
    return FlaggedError(
        f"got the picture of {short(request.prompt)} black from the model's safety checker: expected a picture to "
        "show; use other words, another seed or less strength, or a model whose safety_checker is None"
    )


def _why(error: Exception) -> str:
    if isinstance(error, LineaError):
        return str(error)
    if is_out_of_memory(error):
        return f"memory ran out with this image alone ({reason(error)}): expected a smaller one, or a smaller dtype"
    return f"the pipeline raised {type(error).__name__}: {reason(error)}"
