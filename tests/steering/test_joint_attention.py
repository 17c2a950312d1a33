"""Pair outputs: both streams of a joint attention layer, on a tiny transformer of Stable Diffusion 3's class."""

from __future__ import annotations

import pytest
import torch
from diffusers import SD3Transformer2DModel

from linea_diffusion import LineaError, SteeringMaps, find_modules, record_activations
from linea_diffusion.steering.steer import steer

ATTENTION = "transformer.transformer_blocks.0.attn"


class _Pipe:
    """What steering asks of a pipeline: its components."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.transformer = SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=12, caption_projection_dim=16, pooled_projection_dim=20, out_channels=4,
        ).eval()  # fmt: skip
        self.components = {"transformer": self.transformer}

    @torch.no_grad()
    def __call__(self) -> torch.Tensor:
        random = torch.Generator().manual_seed(1)
        return self.transformer(
            hidden_states=torch.randn(2, 4, 8, 8, generator=random),
            encoder_hidden_states=torch.randn(2, 5, 12, generator=random),
            pooled_projections=torch.randn(2, 20, generator=random),
            timestep=torch.tensor([500, 500]),
        ).sample


@pytest.fixture
def pipe() -> _Pipe:
    return _Pipe()


def _maps(*names: str) -> SteeringMaps:
    maps = SteeringMaps(dict.fromkeys(names, 16)).requires_grad_(False)
    for number, parameter in enumerate(maps.parameters()):
        parameter.copy_(torch.randn(16, generator=torch.Generator().manual_seed(number)))
    return maps


def test_both_streams_are_recorded(pipe):
    modules = find_modules(pipe, [ATTENTION, f"{ATTENTION}:1"])
    with record_activations(modules) as recorded:
        pipe()
    assert recorded[ATTENTION][0].shape == (2, 16, 16)  # 4 x 4 patches
    assert recorded[f"{ATTENTION}:1"][0].shape == (2, 5, 16)  # 5 tokens


def test_each_stream_is_steered_alone_and_both_together(pipe):
    one = torch.tensor(1.0)
    names = (ATTENTION, f"{ATTENTION}:1")
    plain, outputs = pipe(), []
    for choice in ((names[0],), (names[1],), names):
        maps = _maps(*choice)
        modules = find_modules(pipe, list(names))
        with record_activations(modules) as before:
            pipe()
        with steer(pipe, [(dict(maps.named_maps()), one)]), record_activations(modules) as after:
            outputs.append(pipe())
        affine = dict(maps.named_maps())
        for name in names:
            expected = affine[name](before[name][0]) if name in affine else before[name][0]
            assert torch.allclose(after[name][0], expected, atol=1e-6)
    assert all((output - plain).abs().max() > 1e-3 for output in outputs)
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    assert torch.equal(pipe(), plain)


def test_the_address_survives_the_file(pipe, tmp_path):
    maps = _maps(f"{ATTENTION}:1")
    maps.save_pretrained(tmp_path)
    loaded = SteeringMaps.from_pretrained(tmp_path)
    assert [name for name, _ in loaded.named_maps()] == [f"{ATTENTION}:1"]
    with steer(pipe, [(dict(maps.named_maps()), torch.tensor(1.0))]):
        ours = pipe()
    with steer(pipe, [(dict(loaded.named_maps()), torch.tensor(1.0))]):
        assert torch.equal(pipe(), ours)


@pytest.mark.parametrize("name", [f"{ATTENTION}:2", "transformer.transformer_blocks.0.ff:1"])
def test_an_entry_that_is_not_there_says_so(pipe, name):
    with pytest.raises(LineaError, match="in an output of"), record_activations(find_modules(pipe, name)):
        pipe()
