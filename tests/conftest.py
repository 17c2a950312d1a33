"""Fixtures that several test files share: the embedded pipeline, learned maps, random maps, hook counts."""

from __future__ import annotations

import functools
import os
from dataclasses import replace

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from linea_diffusion import (
    LinEASDiffusionPipeline,
    SteeringMaps,
    TrainingConfig,
    cli,
    load_concept,
    train_steering_maps,
)
from linea_diffusion.steering.activations import record_activations
from linea_diffusion.steering.presets import find_modules

from .serving import Server


@pytest.fixture(scope="session")
def loaded_pipe():
    """The embedded pipeline, loaded once; use `pipe`, which hands it out clean."""
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe(loaded_pipe):
    """The embedded pipeline without steering; every hook must be gone when the test ends."""
    before = count_hooks(loaded_pipe)
    loaded_pipe.unload_steering()
    yield loaded_pipe
    loaded_pipe.unload_steering()
    assert count_hooks(loaded_pipe) == before


@pytest.fixture
def little_memory(monkeypatch):
    """A function: from now on memory runs out in U-Nets for more than so many rows; returns the rows that are tried."""
    from diffusers import UNet2DConditionModel

    forward, tried = UNet2DConditionModel.forward, []

    def give(room: int) -> list[int]:
        @functools.wraps(forward)
        def tight(self, sample, *args, **kwargs):
            tried.append(len(sample))
            if len(sample) > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return forward(self, sample, *args, **kwargs)

        monkeypatch.setattr(UNet2DConditionModel, "forward", tight)
        return tried

    return give


@pytest.fixture(scope="session")
def short_maps(loaded_pipe):
    """Maps after three iterations of training: real, cheap, too young to show much."""
    return train_steering_maps(loaded_pipe, NEON, SHORT)


@pytest.fixture(scope="session")
def random_maps(loaded_pipe):
    """Maps with random directions, strong enough to change any picture."""
    modules = find_modules(loaded_pipe, "attention")
    with record_activations(modules) as recorded:
        loaded_pipe("a red heart", num_inference_steps=1, output_type="latent")
    maps = SteeringMaps({name: recorded[name][0].shape[-1] for name in modules})
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in maps.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
    return maps.requires_grad_(False)


_WHOLE = load_concept("neon")
NEON = replace(_WHOLE, source=_WHOLE.source[:8], target=_WHOLE.target[:8], levels=())
"""A quarter of the concept, for tests that are not about what is learned: recording it is most of a short training."""
SHORT = TrainingConfig(
    iterations=3, batch_size=4, num_inference_steps=2, target_modules="attention", sparsity=0.0,
    stretch=1.0, calibrate=False,
)  # fmt: skip


def count_hooks(pipe) -> int:
    """Forward hooks on all modules of a pipeline."""
    models = [model for model in pipe.components.values() if isinstance(model, torch.nn.Module)]
    return sum(len(module._forward_hooks) for model in models for module in model.modules())


def seeded(seed: int = 0) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def linea(monkeypatch, capsys):
    """Run ``linea ARGS``; returns exit code, standard output and standard error."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["linea", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Starts processes that may be killed, see `Server`."""
    started = Server(tmp_path_factory.mktemp("server"))
    yield started
    started.process.stdin.close()
    started.process.wait(timeout=60)
