"""Two walks through the house: of a strength to the activation that it moves, and of an activation past its map.

Whoever changes what happens on these ways reads the files on them; each file more is a file more to read. The numbers
are those that were reached: a shorter walk may lower them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import linea_diffusion
from linea_diffusion import SteeringMaps

from ..conftest import seeded

STRENGTH = 0.6875
"""A number that float32 holds, and that stands nowhere else."""
ROOT = Path(linea_diffusion.__file__).parent
GROUND = ("errors.py", "steering/hooks.py")
"""Where everybody stops by."""


@contextmanager
def _walk(notices: Callable[[FrameType], bool]):
    """The files of the package that are entered meanwhile, in order, with the functions that noticed something."""
    stops: dict[str, list[str]] = {}

    def enter(frame: FrameType, event: str, _: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(ROOT) and notices(frame):
            name = str(file.relative_to(ROOT))
            if name not in GROUND and frame.f_code.co_name not in stops.setdefault(name, []):
                stops[name].append(frame.f_code.co_name)

    sys.setprofile(enter)
    try:
        yield stops
    finally:
        sys.setprofile(None)


def _is_handed_the_strength(frame: FrameType) -> bool:
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    return any(_holds(frame.f_locals.get(name)) for name in code.co_varnames[:count])


def _holds(value: Any, depth: int = 5) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() <= 8 and bool((value == STRENGTH).any())
    if isinstance(value, float):
        return value == STRENGTH
    if not depth:
        return False
    if isinstance(value, Mapping):
        return any(_holds(one, depth - 1) for one in value.values())
    if isinstance(value, list | tuple):
        return any(_holds(one, depth - 1) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return any(_holds(getattr(value, one.name, None), depth - 1) for one in fields(value))
    return False


@pytest.mark.parametrize("strength", [STRENGTH, [STRENGTH, 0.25]], ids=["one", "a row"])
def test_the_walk_of_a_strength(pipe, random_maps, strength):
    pipe.load_steering(SteeringMaps.of(dict(random_maps.named_maps())), "loud")
    pipe.steering["loud"].metadata["calibration"] = {"strengths": [0.0, 1.0], "values": [0.0, 1.0], "measure": "x"}
    with _walk(_is_handed_the_strength) as stops:
        pipe("a red heart", strength=strength, num_inference_steps=1, guidance_scale=1.0, output_type="latent")
    assert len(stops) <= 5, list(stops.items())


@pytest.mark.parametrize("strength", [STRENGTH, [STRENGTH, 0.25]], ids=["one", "a row"])
def test_the_walk_of_an_activation(pipe, random_maps, strength):
    """While an attention layer runs, once it is known which layer within makes its output."""
    pipe.load_steering(random_maps)
    entered: list[dict[str, list[str]]] = []
    attention = pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn1
    forward = attention._call_impl

    def watched(*args: Any, **kwargs: Any) -> Any:
        with _walk(lambda frame: True) as stops:
            output = forward(*args, **kwargs)
        entered.append(stops)
        return output

    attention._call_impl = watched
    try:
        pipe(
            "a red heart", strength=strength, num_inference_steps=3, guidance_scale=1.0, output_type="latent",
            generator=seeded(),
        )  # fmt: skip
    finally:
        del attention._call_impl
    assert len(entered) == 3
    for stops in entered[1:]:
        assert len(stops) <= 5, list(stops.items())
