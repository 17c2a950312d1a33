"""Hooks: what they change, in which order, and that they come off."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from linea_diffusion import edit_activations, find_modules, record_activations
from linea_diffusion.steering.activations import feature_axis
from linea_diffusion.training.loss.pooling import mean_pool

from ..conftest import count_hooks


def test_edits_change_what_recorders_read():
    layer = nn.Linear(2, 2)
    x = torch.ones(1, 2)
    with (
        record_activations({"layer": layer}) as recorded,
        edit_activations({"layer": layer}, {"layer": lambda z: z + 5}),
    ):
        output = layer(x)
    assert torch.equal(output, layer(x) + 5)
    assert torch.equal(recorded["layer"][0], output)


def test_the_inner_of_two_nested_edits_acts_first():
    layer = nn.Identity()
    modules = {"layer": layer}
    double, add = {"layer": lambda z: 2 * z}, {"layer": lambda z: z + 1}
    with edit_activations(modules, double), edit_activations(modules, add):
        assert layer(torch.tensor(3.0)) == 8
    with edit_activations(modules, add), edit_activations(modules, double):
        assert layer(torch.tensor(3.0)) == 7


def test_tuples_keep_their_other_entries():
    class Pair(nn.Module):
        def forward(self, x):
            return x, "weights"

    pair = Pair()
    with edit_activations({"pair": pair}, {"pair": torch.neg}):
        assert pair(torch.tensor(1.0)) == (torch.tensor(-1.0), "weights")


def test_hooks_come_off_also_when_the_body_raises(pipe):
    modules = find_modules(pipe, "attention")
    before = count_hooks(pipe)
    edits = dict.fromkeys(modules, torch.neg)

    def interrupted() -> None:
        with record_activations(modules), edit_activations(modules, edits):
            assert count_hooks(pipe) == before + 2 * len(modules)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        interrupted()
    assert count_hooks(pipe) == before


def test_hooks_come_off_when_an_edit_raises(pipe):
    modules = find_modules(pipe, "text-attention")

    def broken(z: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("edit failed")

    before = count_hooks(pipe)
    with pytest.raises(RuntimeError, match="edit failed"), edit_activations(modules, dict.fromkeys(modules, broken)):
        pipe("a red heart")
    assert count_hooks(pipe) == before


def test_an_edit_of_a_text_encoder_block_acts_after_hidden_states_were_collected(pipe):
    # transformers installs permanent hooks the first time it collects hidden states; ours must still act.
    encoder = copy.deepcopy(pipe.text_encoder)
    tokens = pipe.tokenizer("a red heart", return_tensors="pt").input_ids
    encoder(tokens, output_hidden_states=True)
    block = find_modules(SimpleNamespace(components={"text_encoder": encoder}), r"text_encoder\.encoder\.layers\.1")
    plain = encoder(tokens, output_hidden_states=True).hidden_states
    with edit_activations(block, dict.fromkeys(block, lambda z: z.roll(1, -1))):
        edited = encoder(tokens, output_hidden_states=True).hidden_states
    assert torch.equal(plain[1], edited[1])
    assert not torch.allclose(plain[2], edited[2])
    assert not torch.allclose(plain[-1], edited[-1])


def test_feature_axis_by_kind():
    assert feature_axis(nn.GroupNorm(2, 8), torch.zeros(2, 8, 4, 4)) == 1
    assert feature_axis(nn.GroupNorm(2, 8), torch.zeros(2, 8, 16)) == 1
    assert feature_axis(nn.Conv2d(8, 8, 1), torch.zeros(2, 8, 4, 4)) == 1
    assert feature_axis(nn.LayerNorm(8), torch.zeros(2, 4, 6, 8)) == 3
    assert feature_axis(nn.Linear(8, 8), torch.zeros(2, 6, 8)) == 2


def test_mean_pool_averages_tokens_and_pixels():
    tokens, pixels = torch.randn(2, 6, 8), torch.randn(2, 8, 4, 4)
    assert torch.allclose(mean_pool("", nn.Linear(8, 8), tokens), tokens.mean(1))
    assert torch.allclose(mean_pool("", nn.Conv2d(8, 8, 1), pixels), pixels.mean((2, 3)))
