"""Layers that carry the map of their module's output: the hooks' outputs in every way in which a module may run."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from linea_diffusion import AffineMap, SteeringMaps
from linea_diffusion.steering.activations import Site
from linea_diffusion.steering.calls.call import RunningCall
from linea_diffusion.steering.dial import Dial
from linea_diffusion.steering.steer import SteeredSite
from linea_diffusion.steering.weights.folded_outputs import folded_output

from ..conftest import seeded


class Layer(nn.Module):
    """Two projections and a dropout, as attention layers have them, and what processors may do besides."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        self.to_v = nn.Linear(4, 6)
        self.to_out = nn.ModuleList([nn.Linear(6, 6, bias=bias), nn.Dropout(0.5)])
        self.also = nn.Linear(4, 6)
        self.residual, self.scale, self.twice, self.in_place, self.by_hand = False, 1.0, False, False, False
        draw = seeded(2)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=draw)
        self.eval()

    def forward(self, x, other=None, *, outside=()):
        out = self.to_out[0](self.to_v(x))
        if self.twice:
            out = self.to_out[0](out)
        out = self.to_out[1](out)
        if self.residual:
            out = out + self.also(x)
        if self.in_place or outside:
            out += 1
        if self.by_hand:
            out = nn.functional.linear(self.to_v(x), self.to_out[0].weight)
        return out / self.scale, self.also(x)


class Wrapped(nn.Module):
    """As peft puts a LoRA around a layer."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = layer

    def forward(self, x):
        return self.base_layer(x) + x.sum(-1, keepdim=True)


@pytest.fixture(autouse=True)
def _as_in_a_call():
    with torch.no_grad():
        yield


def _site(layer: nn.Module, name: str = "unet.attn", *, strengths: torch.Tensor | None = None) -> SteeredSite:
    affine = AffineMap(6, rank=2).requires_grad_(False)
    for part in affine.tensors().values():
        part.copy_(0.3 * torch.randn(part.shape, generator=seeded(3)))
    strength = torch.tensor(1.0) if strengths is None else strengths
    return SteeredSite(Site.of(name, layer), [(affine, strength)], Dial(), RunningCall())


def _x(*shape: int) -> torch.Tensor:
    return torch.randn(shape or (2, 5, 4), generator=seeded(1))


def _expected(layer: nn.Module, x: torch.Tensor, site: SteeredSite, **arguments) -> torch.Tensor:
    return site.move.apply(layer(x, **arguments)[site.site.address.entry])


@contextmanager
def _steered(layer: nn.Module, site: SteeredSite | None = None):
    site = _site(layer) if site is None else site
    with folded_output(site) as taken:
        assert taken
        yield site
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
    assert not any("forward" in vars(module) for module in layer.modules())


def _hook_free(layer: Layer, x: torch.Tensor, **arguments) -> bool:
    """Whether a run makes no low-rank product of an activation: the layer carries the map."""
    calls = []
    site_edit = SteeredSite.edit

    def counted(self, z):
        calls.append(self.name)
        return site_edit(self, z)

    SteeredSite.edit = counted
    try:
        layer(x, **arguments)
    finally:
        SteeredSite.edit = site_edit
    return not calls


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["unet.attn", "unet.attn:1"])
def test_the_hooks_output_from_the_first_run_on(bias, name):
    layer, x = Layer(bias=bias), _x()
    site = _site(layer, name)
    plain, expected = layer(x), _expected(layer, x, site)
    firsts = []
    for _ in range(2):  # a context for each call
        with _steered(layer, _site(layer, name)) as site:
            for _ in range(2):
                out = layer(x)
                firsts.append(out[site.site.address.entry])
                torch.testing.assert_close(out[site.site.address.entry], expected, atol=1e-5, rtol=1e-5)
                assert torch.equal(out[1 - site.site.address.entry], plain[1 - site.site.address.entry])
            assert site.presence.acted
            assert _hook_free(layer, x)
    assert all(torch.equal(one, firsts[0]) for one in firsts)
    assert torch.equal(layer(x)[site.site.address.entry], plain[site.site.address.entry])


def test_both_entries_at_once():
    layer, x = Layer(), _x()
    sites = [_site(layer), _site(layer, "unet.attn:1")]
    expected = [_expected(layer, x, site) for site in sites]
    for _ in range(2):
        with folded_output(sites[0]), folded_output(sites[1]):
            torch.testing.assert_close(list(layer(x)), expected, atol=1e-5, rtol=1e-5)
            assert _hook_free(layer, x)


WAYS = {
    "an added residual": lambda layer: setattr(layer, "residual", True),
    "a scale": lambda layer: setattr(layer, "scale", 2.0),
    "a layer that runs twice": lambda layer: setattr(layer, "twice", True),
    "in place": lambda layer: setattr(layer, "in_place", True),
    "past the layer": lambda layer: setattr(layer, "by_hand", True),
    "a lora": lambda layer: layer.to_out.__setitem__(0, Wrapped(layer.to_out[0])),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("warm", [True, False])
def test_what_is_no_layers_output_is_steered_by_a_hook(way, warm):
    """Whether the module ran otherwise before, or in the same context, or never."""
    layer, x = Layer(), _x()
    if warm:
        with _steered(layer):
            layer(x)
    WAYS[way](layer)
    site = _site(layer)
    expected = _expected(layer, x, site)
    for _ in range(2):
        with _steered(layer):
            for _ in range(2):
                torch.testing.assert_close(layer(x)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "a lora"])
def test_other_code_in_the_middle_of_a_context(way):
    layer, x = Layer(), _x()
    with _steered(layer) as site:
        layer(x)
        WAYS[way](layer)
        out = layer(x)[0]
    torch.testing.assert_close(out, _expected(layer, x, site), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_told_ahead_is_seen_afterwards():
    """Arguments of the same kinds with which the module does something else: it runs again, and keeps its hook."""
    layer, x = Layer(), _x()
    site = _site(layer)
    expected = [_expected(layer, x, site, outside=outside) for outside in ((), (1,))]
    with _steered(layer):
        for wanted, outside in [*zip(expected, ((), (1,)), strict=True)] * 2:
            torch.testing.assert_close(layer(x, outside=outside)[0], wanted, atol=1e-5, rtol=1e-5)
        assert not _hook_free(layer, x, outside=())


def test_dropout_in_training_mode_is_the_hooks():
    layer, x = Layer(), _x()
    site = _site(layer)
    with _steered(layer):
        layer(x)
    layer.train()
    torch.manual_seed(0)
    expected = _expected(layer, x, site)
    with _steered(layer):
        torch.manual_seed(0)
        torch.testing.assert_close(layer(x)[0], expected, atol=1e-5, rtol=1e-5)


def test_a_hook_within_sees_what_it_saw():
    layer, x = Layer(), _x()
    plain, seen = layer.to_out[0](layer.to_v(x)), []
    with _steered(layer):
        layer(x)
    for module in (layer.to_out[0], layer.to_out[1]):
        with module.register_forward_hook(lambda module, inputs, output: seen.append(output)):
            for _ in range(2):
                with _steered(layer) as site:
                    torch.testing.assert_close(layer(x)[0], site.move.apply(plain), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(one, plain) for one in seen)
    assert len(seen) == 4


def test_the_layer_alone_and_other_calls_are_plain():
    layer, x = Layer(), _x()
    plain, alone, mine = layer(x)[0], layer.to_out[0](_x(2, 6)), [True]
    site = _site(layer)
    site.call.is_mine = lambda: mine[0]
    with folded_output(site):
        layer(x)
        layer(x)
        assert torch.equal(layer.to_out[0](_x(2, 6)), alone)
        mine[0] = False
        assert torch.equal(layer(x)[0], plain)


def test_the_first_of_two_contexts_takes_the_layer():
    layer, x = Layer(), _x()
    first, second = _site(layer), _site(layer)
    expected = second.move.apply(_expected(layer, x, first))
    for _ in range(2):
        with folded_output(first), folded_output(second):
            torch.testing.assert_close(layer(x)[0], expected, atol=1e-5, rtol=1e-5)


def test_numbers_that_change_are_seen():
    layer, x = Layer(), _x()
    with _steered(layer) as site:
        layer(x)
        layer.to_out[0].weight.mul_(2)
        torch.testing.assert_close(layer(x)[0], site.move.apply(_plain(layer, x)), atol=1e-5, rtol=1e-5)
        site.move = site.move.then(site.move)
        torch.testing.assert_close(layer(x)[0], site.move.apply(_plain(layer, x)), atol=1e-4, rtol=1e-5)


def _plain(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(layer.to_v(x), layer.to_out[0].weight, layer.to_out[0].bias)


def test_half_precision_rows_and_managed_modules_keep_their_hooks():
    managed = Layer()
    managed.forward = managed.forward
    sites = [
        _site(Layer().to(torch.bfloat16)),
        _site(Layer(), strengths=torch.tensor([0.0, 1.0])),
        _site(managed),
        _site(nn.Conv2d(6, 6, 1)),
    ]
    for site in sites:
        with folded_output(site) as taken:
            assert not taken


def test_autocast_is_the_hooks():
    layer, x = Layer(), _x()
    with _steered(layer):
        layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        expected = _expected(layer, x, _site(layer))
        with _steered(layer):
            assert torch.equal(layer(x)[0], expected)


def test_gradients_come_through_the_hook():
    layer, x = Layer(), _x().requires_grad_()
    with _steered(layer):
        layer(x)
        with torch.enable_grad():
            layer(x)[0].sum().backward()
    assert layer.to_out[0].weight.grad is not None
    assert x.grad is not None


def test_nothing_is_remembered_of_zeros_or_longer_than_the_module():
    layer, x = Layer(), torch.zeros(2, 5, 4)
    layer.to_v.bias.zero_()
    layer.to_out[0].bias.zero_()
    with _steered(layer) as site:
        assert torch.equal(layer(x)[0], _expected_of_zero(site))
        layer(_x())
        assert _hook_free(layer, _x())


def _expected_of_zero(site: SteeredSite) -> torch.Tensor:
    return site.move.apply(torch.zeros(2, 5, 6))


@pytest.fixture(scope="module")
def attention_maps(random_maps):
    """Random maps of rank 2 on all attention layers of the U-Net's pipeline."""
    rng, maps = seeded(5), {}
    for name, affine in random_maps.named_maps():
        maps[name] = AffineMap(affine.features, rank=2).requires_grad_(False)
        for part in maps[name].tensors().values():
            part.copy_(0.1 * torch.randn(part.shape, generator=rng))
    return SteeringMaps.of(maps)


def _array(pipe, **arguments) -> np.ndarray:
    settings = {"num_inference_steps": 2, "guidance_scale": 1.0, **arguments}
    return pipe("a red heart", generator=seeded(), output_type="np", **settings).images


def test_pictures_are_those_of_hooks(pipe, attention_maps):
    """A context by hand has hooks; every attention layer of the call has none to edit with, from its first step on."""
    plain = _array(pipe.base)
    pipe.load_steering(attention_maps)
    with attention_maps.apply(pipe, 0.7):
        hooked = _array(pipe.base)
    first, counts = _array(pipe, strength=0.7), []

    def count(*_):
        counts.append(sum("forward" in vars(module) for module in pipe.unet.modules()))
        return {}

    assert np.array_equal(_array(pipe, strength=0.7, callback_on_step_end=count), first)
    assert counts == [14, 14]
    assert np.abs(first - hooked).max() < 1e-4
    assert np.abs(first - plain).max() > 0.05
    assert np.array_equal(_array(pipe, strength=0.0), plain)
    row = _array(pipe, strength=[0.7, 0.7], callback_on_step_end=count)
    assert counts[-1] == 0
    assert np.abs(row[:1] - hooked).max() < 1e-4
    _array(pipe, strength=0.7, guidance_scale=2.0, steering_guidance="cond", callback_on_step_end=count)
    assert counts[-1] == 0


@pytest.mark.parametrize("window", [{"steering_start": 0.5}, {"steering_end": 0.5}], ids=str)
def test_the_window_holds(pipe, attention_maps, window):
    pipe.load_steering(attention_maps)
    row = _array(pipe, strength=[1.0, 1.0], **window)[:1]  # two rows: hooks
    assert np.abs(_array(pipe, strength=1.0, **window) - row).max() < 1e-4
    assert np.abs(_array(pipe, strength=1.0) - row).max() > 0.01
