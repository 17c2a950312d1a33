"""Maps in the weights: each kind of layer against the formula, and every layer back bit for bit.

Evidence: the affine map of the layer's own output, worked out beside it. pipelines/test_matrix.py fuses each class.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from diffusers.models.normalization import RMSNorm
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from linea_diffusion import AffineMap, LineaError, SteeringMaps
from linea_diffusion.steering.affine.affine_map import affine_map
from linea_diffusion.steering.affine.move import Move
from linea_diffusion.steering.weights.fusing import fold_into

from ..conftest import count_hooks, seeded

D = 8
LAYERS = {
    "linear": (nn.Linear(5, D), (3, 5)),
    "linear without bias": (nn.Linear(5, D, bias=False), (3, 5)),
    "convolution": (nn.Conv2d(4, D, 3), (2, 4, 6, 6)),
    "layer norm": (nn.LayerNorm(D), (2, 3, D)),
    "layer norm without parameters": (nn.LayerNorm(D, elementwise_affine=False), (2, 3, D)),
    "layer norm without bias": (nn.LayerNorm(D, bias=False), (2, 3, D)),
    "group norm": (nn.GroupNorm(2, D), (2, D, 4, 4)),
    "rms norm of diffusers with bias": (RMSNorm(D, 1e-6, bias=True), (2, 3, D)),
}
SCALED_ONLY = {
    "rms norm of torch": nn.RMSNorm(D),
    "rms norm of T5": T5LayerNorm(D),
    "rms norm of Gemma, whose factor is 1 + weight": GemmaRMSNorm(D),
}


def _move(factor: torch.Tensor, shift: torch.Tensor) -> Move:
    return Move.of(factor[None], shift[None])


def _numbers() -> tuple[torch.Tensor, torch.Tensor]:
    random = seeded(1)
    return 1 + 0.5 * torch.randn(D, generator=random), torch.randn(D, generator=random)


def _state(layer: nn.Module) -> list[tuple[str, object]]:
    return [(name, parameter) for name, parameter in layer._parameters.items()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", list(LAYERS))
def test_a_layer_with_the_map_in_it(name, dtype):
    layer, shape = copy.deepcopy(LAYERS[name][0]).to(dtype), LAYERS[name][1]
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=seeded(2))
    factor, shift = _numbers()
    x = torch.randn(shape, generator=seeded(3)).to(dtype)
    before, state = layer(x), _state(layer)
    wide = (-1, 1, 1) if before.ndim == 4 else (-1,)
    kept = fold_into(layer, _move(factor, shift), torch.zeros((), dtype=dtype))
    expected = before.float() * factor.reshape(wide) + shift.reshape(wide)
    assert kept
    torch.testing.assert_close(layer(x).float(), expected, rtol=0, atol=20 * torch.finfo(dtype).eps * 8)
    assert layer(x).dtype == dtype
    for owner, part, parameter in kept:
        setattr(owner, part, parameter)
    assert all(a[1] is b[1] for a, b in zip(_state(layer), state, strict=True))
    assert torch.equal(layer(x), before)


@pytest.mark.parametrize("name", list(SCALED_ONLY))
def test_a_layer_without_a_place_for_a_shift(name):
    layer, (factor, shift), x = copy.deepcopy(SCALED_ONLY[name]), _numbers(), torch.randn(2, 3, D, generator=seeded(3))
    before, state = layer(x), _state(layer)
    assert fold_into(layer, _move(factor, shift), x) == []
    assert all(a[1] is b[1] for a, b in zip(_state(layer), state, strict=True))
    kept = fold_into(layer, _move(factor, torch.zeros(D)), x)
    assert bool(kept) == ("Gemma" not in name), "a factor of 1 + weight is noticed by what comes out"
    torch.testing.assert_close(layer(x), before * factor if kept else before)


MIXING = {
    "linear": (nn.Linear(5, D), (3, 5)),
    "linear on tokens": (nn.Linear(5, D), (3, 4, 5)),
    "linear without bias": (nn.Linear(5, D, bias=False), (3, 5)),
    "convolution": (nn.Conv2d(4, D, 3), (2, 4, 6, 6)),
    "convolution of single pixels": (nn.Conv2d(4, D, 1), (2, 4, 6, 6)),
    "convolution along one axis": (nn.Conv1d(4, D, 3), (2, 4, 6)),
}


def mixing_map(features: int = D, rank: int = 3, *, shifts: bool = True, size: float = 0.4) -> AffineMap:
    """A map with a low-rank part, all numbers random; U V^T is about as large whatever the features."""
    affine = AffineMap(features, rank=rank).requires_grad_(False)
    random = seeded(4)
    for part in affine.tensors().values():
        part.copy_(size * torch.randn(part.shape, generator=random))
    affine.down.mul_((D / features) ** 0.5 / 2)
    if not shifts:
        affine.shift.zero_()
    return affine


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("strength", [1.0, -0.5])
@pytest.mark.parametrize("name", list(MIXING))
def test_a_layer_with_a_map_in_it_that_mixes_features(name, strength, dtype):
    """Against the dense matrix of the map, in float64."""
    layer, shape = copy.deepcopy(MIXING[name][0]).to(dtype), MIXING[name][1]
    affine = mixing_map()
    matrix = torch.diag(affine.scale_offset).double() + affine.up.double() @ affine.down.double().T
    x = torch.randn(shape, generator=seeded(3)).to(dtype)
    before, state = layer(x), _state(layer)
    axis = 1 if isinstance(layer, nn.Conv1d | nn.Conv2d) else -1
    wide = before.double().movedim(axis, -1)
    expected = (wide + strength * (wide @ matrix.T + affine.shift)).movedim(-1, axis)
    kept = fold_into(layer, affine.move(strength), torch.zeros((), dtype=dtype))
    assert kept
    torch.testing.assert_close(layer(x).double(), expected, rtol=0, atol=20 * torch.finfo(dtype).eps * 8)
    for owner, part, parameter in kept:
        setattr(owner, part, parameter)
    assert all(a[1] is b[1] for a, b in zip(_state(layer), state, strict=True))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, D, 3, groups=2),
        nn.Conv1d(D, D, 3, groups=D),
        nn.LayerNorm(D),
        nn.GroupNorm(2, D),
        RMSNorm(D, 1e-6, bias=True),
        nn.RMSNorm(D),
    ],
    ids=str,
)
@pytest.mark.parametrize("shifts", [True, False])
def test_a_normalisation_and_groups_take_no_map_that_mixes_features(layer, shifts):
    state = _state(layer)
    assert fold_into(layer, mixing_map(shifts=shifts).move(1.0), torch.zeros(())) == []
    assert all(a[1] is b[1] for a, b in zip(_state(layer), state, strict=True))


def test_pictures_of_fused_maps_that_mix_features(pipe, random_maps):
    """Linear layers take them, a norm keeps its hook, and all weights come back bit for bit."""
    norm = "unet.mid_block.resnets.0.norm1"
    names = [name for name, _ in random_maps.named_maps()]
    mixing = {name: mixing_map(a.features, size=0.3) for name, a in random_maps.named_maps()}
    maps = SteeringMaps.of({**mixing, norm: mixing_map(128, size=0.3)})
    pipe.load_steering(maps)
    before = {name: value.clone() for name, value in _bits(pipe).items()}
    hooked = {strength: _array(pipe, strength=strength) for strength in (0.0, 0.6, -0.4)}
    assert np.abs(hooked[0.6] - hooked[0.0]).max() > 0.05
    for strength in (0.6, -0.4):
        fusion = pipe.fuse_steering(strength)
        assert (sorted(fusion.folded), fusion.hooked) == (sorted(names), [norm])
        np.testing.assert_allclose(_array(pipe), hooked[strength], atol=2e-3)
        pipe.unfuse_steering()
    after = _bits(pipe)
    assert all(torch.equal(after[name], before[name]) for name in before)


class Odd(nn.Linear):
    """A Linear that does something of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).relu()


def test_layers_of_other_classes_and_other_numbers_are_left_alone():
    like = torch.zeros(())
    for layer in (Odd(5, D), nn.Linear(5, D).to(torch.float8_e4m3fn), nn.Linear(5, D, device="meta"), nn.ReLU()):
        assert fold_into(layer, _move(*_numbers()), like) == []


def _array(pipe, **kwargs) -> np.ndarray:
    return pipe("a red heart", generator=seeded(), output_type="np", num_inference_steps=3, **kwargs).images


def _bits(pipe) -> dict[str, torch.Tensor]:
    parts = {"unet": pipe.unet, "text": pipe.text_encoder}
    return {f"{part}.{name}": value for part, model in parts.items() for name, value in model.state_dict().items()}


def test_fused_and_unfused(pipe, random_maps):
    pipe.load_steering(random_maps)
    before = {name: value.clone() for name, value in _bits(pipe).items()}
    hooks = count_hooks(pipe)
    hooked = {strength: _array(pipe, strength=strength) for strength in (0.0, 0.6)}
    fusion = pipe.fuse_steering(0.6)
    assert len(fusion.folded) == len(list(random_maps.named_maps()))
    assert fusion.hooked == []
    assert count_hooks(pipe) == hooks
    np.testing.assert_allclose(_array(pipe), hooked[0.6], atol=2e-3)
    pipe.unfuse_steering()
    after = _bits(pipe)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert (_array(pipe, strength=0.0) == hooked[0.0]).all()


def test_several_adapters_the_dial_and_the_composition(pipe, random_maps):
    pipe.load_steering(random_maps, "one")
    pipe.load_steering(-0.4 * random_maps, "two")
    for options in ({"composition": "sum"}, {"composition": "chain"}):
        expected = _array(pipe, strength={"one": 0.5, "two": 0.7}, **options)
        pipe.fuse_steering({"one": 0.5, "two": 0.7}, **options)
        np.testing.assert_allclose(_array(pipe), expected, atol=2e-3)
        pipe.unfuse_steering()
    pipe.set_steering("one", 0.3)
    expected = _array(pipe)
    pipe.fuse_steering()
    np.testing.assert_allclose(_array(pipe), expected, atol=2e-3)
    pipe.unload_steering()
    assert (_array(pipe) == _array(pipe, strength=0)).all()


def test_what_no_layer_makes_stays_a_hook(pipe, random_maps):
    """A block's output is a sum; the hook stays until unfuse_steering."""
    name = "unet.mid_block.attentions.0.transformer_blocks.0"
    maps = SteeringMaps.of({name: affine_map(*(5 * torch.randn(128, generator=seeded(i)) for i in (1, 2)))})
    pipe.load_steering(maps)
    expected, hooks = _array(pipe, strength=0.8), count_hooks(pipe)
    fusion = pipe.fuse_steering(0.8)
    assert (fusion.hooked, fusion.folded) == ([name], {})
    assert (_array(pipe) == expected).all()
    pipe.unfuse_steering()
    assert count_hooks(pipe) == hooks
    assert np.abs(_array(pipe, strength=0) - expected).max() > 0.01


@pytest.mark.parametrize(("strength", "message"), [([0.1, 0.9], "one strength"), (0.0, "nothing to fuse")])
def test_what_cannot_be_fused_is_refused(pipe, random_maps, strength, message):
    pipe.load_steering(random_maps)
    with pytest.raises(LineaError, match=message):
        pipe.fuse_steering(strength)
    assert pipe.steering.fusion is None


def test_maps_per_step_bin_are_refused(pipe):
    maps = SteeringMaps({"unet.mid_block.resnets.0.norm1": (2, 128)}).requires_grad_(False)
    next(iter(maps.parameters())).fill_(0.1)
    pipe.load_steering(maps)
    with pytest.raises(LineaError, match="all steps share"):
        pipe.fuse_steering(1.0)


def test_maps_of_norms_need_no_run(pipe, monkeypatch):
    """Norms are layers by themselves; nothing is rendered to find out."""
    name = "unet.mid_block.resnets.0.norm1"
    pipe.load_steering(SteeringMaps.of({name: affine_map(torch.full((128,), 0.3), torch.zeros(128))}))
    expected = _array(pipe, strength=1.0)
    monkeypatch.setattr(type(pipe.base), "__call__", lambda self, **kwargs: pytest.fail("the pipeline was run"))
    pipe.fuse_steering(1.0)
    monkeypatch.undo()
    np.testing.assert_allclose(_array(pipe), expected, atol=1e-3)
    pipe.unfuse_steering()
