"""`Request`: one picture to be made, with all that makes it; requests that may share a call come together."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ...errors import LineaError, short
from ..calling import for_base

Strengths = Mapping[str, float] | float | None
"""Adapter -> strength of a picture; or one number for all adapters and the whole call; None as in a call without."""

DIAL: dict[str, Any] = {
    "composition": "sum",
    "calibrated": None,
    "steering_guidance": "both",
    "steering_start": 0.0,
    "steering_end": 1.0,
    "strength_curve": None,
    "mask": None,
    "masking": "pictures",
}
"""Arguments of a call that say how steering acts -> what they are when left out."""

SET_BY_RENDERING = {
    "prompt": "prompts are given in order",
    "generator": "use a list of seeds",
    "strength": "use strengths, or denoising_strength for that of image-to-image pipelines",
    "num_images_per_prompt": "use a list of seeds",
    "num_videos_per_prompt": "use a list of seeds",
    "output_type": "what is made is pictures",
    "return_dict": "what is made is pictures",
}
"""Arguments of pipelines that rendering sets for each picture -> what to do instead."""

_SHAPE = json.JSONEncoder(sort_keys=True, default=lambda one: f"object {id(one)}")


@dataclass(frozen=True)
class Request:
    """One picture to be made.

    Attributes:
        prompt: what of.
        seed: of its noise.
        strengths: adapter -> strength, 0 where it is left out, which may differ between the pictures of a call. A
            number is that of all adapters for a whole call, so that layers may carry maps; None is what the pipeline
            does when no strength is given.
        dial: how steering acts, by the names in `DIAL`.
        arguments: of the base pipeline, by its own names, as for one prompt.
        rows: those of them of which each picture of a call may have its own; a call has the others once.
    """

    prompt: str
    seed: int
    strengths: Strengths = None
    dial: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[str, ...] = ()

    @property
    def shape(self) -> str:
        """What requests must have in common to share a call: all that a call has once for all rows.

        Prompts, seeds and the strengths of adapters may differ; of adapters that act one after the other (``chain``)
        the order must be the same.
        """
        shared = {name: self.shared(name) for name in self.arguments}
        how: Any = self.strengths
        if isinstance(how, Mapping):
            how = list(how) if self.dial.get("composition") == "chain" else []
        return _SHAPE.encode([shared, dict(self.dial), how])

    def shared(self, name: str) -> Any:
        """What requests of one call share of an argument."""
        return None if name in self.rows else self.arguments[name]

    def steering(self) -> dict[str, Any]:
        """How steering acts, as the pipeline takes it, asked for when a call is about to begin."""
        return dict(self.dial)

    def argument(self, name: str) -> Any:
        """An argument as the pipeline takes it, asked for when a call is about to begin."""
        return self.arguments[name]


R = TypeVar("R", bound=Request)


def requests_of(
    pipe: Any, rows: Iterable[tuple[str, int, Strengths]], arguments: Mapping[str, Any]
) -> Iterator[Request]:
    """Requests of (prompt, seed, strengths) that are alike in all else.

    Args:
        pipe: a `LinEASDiffusionPipeline`, or a diffusers pipeline.
        rows: one each; read as they are needed.
        arguments: of the pipeline's calls, as for one prompt, with those in `DIAL`.

    Raises:
        LineaError: an argument that rendering sets itself, or ``denoising_strength`` for a base pipeline without.
    """
    check_arguments(arguments)
    settings = {**getattr(pipe, "default_arguments", {}), **arguments}
    dial = {name: settings.pop(name) for name in DIAL if name in settings}
    settings = for_base(getattr(pipe, "base", pipe), settings)
    return (Request(prompt, seed, strengths, dial, settings) for prompt, seed, strengths in rows)


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Whether requests may carry these arguments of a pipeline.

    Raises:
        LineaError: rendering sets one of them for each picture itself.
    """
    for name, value in arguments.items():
        if name in SET_BY_RENDERING:
            raise LineaError(
                f"got {name}={short(value)}, which is set here for each picture: leave it out; {SET_BY_RENDERING[name]}"
            )


def grouped(requests: Iterable[R], size_of: Callable[[R], int], window: int | None = None) -> Iterator[list[R]]:
    """Requests in groups of one shape each.

    Args:
        requests: read as they are needed.
        size_of: the largest group that a request may be in, asked anew each time.
        window: how many requests may wait for others of their shape, in about the order asked; beyond it the largest
            group goes as it is. None lets only neighbours share a group, in just the order asked.
    """
    waiting: OrderedDict[str, list[R]] = OrderedDict()
    count = 0
    for request in requests:
        shape = request.shape
        if window is None and shape not in waiting:
            yield from waiting.values()
            waiting.clear()
        group = waiting.setdefault(shape, [])
        group.append(request)
        count += 1
        if len(group) >= size_of(request):
            yield waiting.pop(shape)
            count -= len(group)
        elif window is not None and count >= window:
            largest = max(waiting, key=lambda one: len(waiting[one]))
            group = waiting.pop(largest)
            count -= len(group)
            yield group
    yield from waiting.values()
