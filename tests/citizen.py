"""What the files test_citizen*.py share: maps for any layer, the formula in hooks put by hand, and what must hold."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from linea_diffusion import LinEASDiffusionPipeline, SteeringMaps, find_modules
from linea_diffusion.pipelines.calling import measure_activations
from linea_diffusion.steering.weights.fusing import Fusion

from .conftest import seeded
from .zoo.checks import count_hooks

TARGETS = ("attention", "norms", "values", r"unet\.mid_block.*conv1")
STEPS = {"num_inference_steps": 4, "guidance_scale": 1.0}
FOLD = {"num_inference_steps": 1}


def fresh(**kwargs) -> LinEASDiffusionPipeline:
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet", **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def maps_for(pipe, size: float = 0.15) -> SteeringMaps:
    seen = measure_activations(pipe, find_modules(pipe, TARGETS))
    made = SteeringMaps({name: features for name, (_, features) in seen.items()})
    random = seeded(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=random))
    return made.requires_grad_(False)


def render(pipe, prompt="a red heart", seeds=(0,), **kwargs) -> np.ndarray:
    given = {"generator": [seeded(seed) for seed in seeds], "output_type": "np", **STEPS, **kwargs}
    return pipe(prompt, **given).images


def change(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max())


@contextmanager
def by_hand(pipe, maps: SteeringMaps, strength: float) -> Iterator[None]:
    """z + s((w-1)z + b) in plain torch hooks."""
    with ExitStack() as stack:
        for name, affine in maps.named_maps():
            module = functools.reduce(getattr, name.split("."), pipe)
            hook = functools.partial(_moved, strength * affine.scale_offset, strength * affine.shift)
            stack.callback(module.register_forward_hook(hook, prepend=True).remove)
        yield


def _moved(scale, shift, module, inputs, output):
    z = output[0] if isinstance(output, tuple) else output
    shape = (-1, 1, 1) if z.ndim == 4 else (-1,)
    z = (z.float() + scale.reshape(shape) * z.float() + shift.reshape(shape)).to(z.dtype)
    return (z, *output[1:]) if isinstance(output, tuple) else z


def traces(pipe) -> tuple[int, list[set[str]]]:
    """Everything of ours that could be left on a pipeline: hooks, and methods that were put on its parts."""
    parts = [pipe.base, *pipe.components.values()]
    return count_hooks(pipe), [
        {k for k, v in vars(part).items() if callable(v)} for part in parts if hasattr(part, "__dict__")
    ]


def check(pipe, maps, *, tolerance: float = 2e-5, **kwargs) -> np.ndarray:
    """Strength 0 is the plain pipeline as it is, 0.7 is the formula, nothing is left; returns the steered picture."""
    plain = render(pipe.base, **kwargs)
    before = traces(pipe)
    assert (render(pipe, strength=0.0, **kwargs) == plain).all()
    steered = render(pipe, strength=0.7, **kwargs)
    assert traces(pipe) == before
    assert np.isfinite(steered).all()
    assert change(steered, plain) > 0.03
    with by_hand(pipe.base, maps, 0.7):
        assert change(render(pipe.base, **kwargs), steered) <= tolerance
    return steered


def check_fused(pipe, *, tolerance: float = 2e-5, **kwargs) -> Fusion:
    """Fused maps give the hooks' picture, and unfused ones the plain pipeline's bits."""
    plain, steered = render(pipe.base, **kwargs), render(pipe, strength=0.7, **kwargs)
    fusion = pipe.fuse_steering(0.7, **FOLD)
    assert change(render(pipe, **kwargs), steered) <= tolerance
    pipe.unfuse_steering()
    assert (render(pipe.base, **kwargs) == plain).all()
    return fusion
