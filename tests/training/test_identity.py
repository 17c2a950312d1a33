"""What tells models apart: one changed number, a dtype, a scheduler, a library."""

from __future__ import annotations

import copy

import pytest
import torch

from linea_diffusion.training.state import identity
from linea_diffusion.training.state.identity import identity_of


def _changed_weight(pipe) -> None:
    with torch.no_grad():
        next(pipe.unet.parameters()).view(-1)[7] += 1e-6


def _swapped_weights(pipe) -> None:
    """The sum of the bits stays."""
    with torch.no_grad():
        weight = next(pipe.unet.parameters()).view(-1)
        weight[:2] = weight[:2].flip(0)


def _changed_schedule(pipe) -> None:
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, beta_end=0.5)


def _fresh_buffer(pipe) -> None:
    pipe.text_encoder.register_buffer("extra", torch.zeros(3, dtype=torch.uint8))


@pytest.fixture
def base(loaded_pipe):
    """Components of its own, so that they may be changed."""
    parts = {name: copy.deepcopy(part) for name, part in loaded_pipe.base.components.items()}
    return type(loaded_pipe.base)(**parts, requires_safety_checker=False)


@pytest.mark.parametrize("change", [_changed_weight, _swapped_weights, _changed_schedule, _fresh_buffer])
def test_any_change_of_the_model_is_another_model(base, loaded_pipe, change):
    before = identity_of(base.components)
    assert before == identity_of(loaded_pipe.base.components), "a copy is the same model"
    change(base)
    after = identity_of(base.components)
    assert after["weights"] != before["weights"]
    assert {**after, "weights": ""} == {**before, "weights": ""}


def test_dtype_and_versions_are_named(base, monkeypatch):
    before = identity_of(base.components)
    base.to(torch.bfloat16)
    assert (before["dtype"]["unet"], identity_of(base.components)["dtype"]["unet"]) == ("float32", "bfloat16")
    monkeypatch.setattr(identity, "version", lambda name: "9.1.7")
    assert identity_of(base.components)["libraries"] == {"torch": "9.1", "diffusers": "9.1", "transformers": "9.1"}


def test_tensors_without_bits_have_their_shape(base):
    base.unet.to("meta")
    assert identity_of(base.components)["weights"] != ""
