"""Layers that carry the map of their own output: the hooks' outputs, in their own thread, and nothing left behind."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch import nn

from linea_diffusion import AffineMap, SteeringMaps, find_modules
from linea_diffusion.steering.activations import Site, feature_axis, record_activations
from linea_diffusion.steering.affine.move import Move
from linea_diffusion.steering.calls.call import RunningCall
from linea_diffusion.steering.dial import Dial
from linea_diffusion.steering.steer import SteeredSite
from linea_diffusion.steering.weights.folded import folded

from ..conftest import seeded


@pytest.fixture(scope="module")
def norm_maps(loaded_pipe):
    """Random maps on all norms of the U-Net, dense."""
    modules = find_modules(loaded_pipe, "norms")
    with record_activations(modules) as seen:
        loaded_pipe("a red heart", num_inference_steps=1, output_type="latent")
    maps = SteeringMaps({name: z[0].shape[feature_axis(modules[name], z[0])] for name, z in seen.items()})
    rng = torch.Generator().manual_seed(3)
    for parameter in maps.parameters():
        parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=rng))
    return maps.requires_grad_(False)


def _site(
    module: nn.Module,
    features: int,
    *,
    strengths: torch.Tensor | None = None,
    rank: int = 0,
    window: tuple[float, float] = (0.0, 1.0),
) -> SteeredSite:
    rng = torch.Generator().manual_seed(0)
    affine = AffineMap(features, rank=rank).requires_grad_(False)
    for part in affine.tensors().values():
        part.copy_(0.3 * torch.randn(part.shape, generator=rng))
    strength = torch.tensor(1.0) if strengths is None else strengths
    dial = Dial(start=window[0], end=window[1])
    return SteeredSite(Site.of("unet.norm", module), [(affine, strength)], dial, RunningCall())


@pytest.fixture(autouse=True)
def _as_in_a_call():
    with torch.no_grad():
        yield


def _array(pipe, **arguments) -> np.ndarray:
    settings = {"num_inference_steps": 3, "guidance_scale": 1.0, **arguments}
    return pipe("a red heart", generator=seeded(), output_type="np", **settings).images


def _forwards_replaced(pipe) -> int:
    return sum("forward" in vars(module) for module in pipe.unet.modules())


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.LayerNorm(6), (3, 5, 6)),
        (nn.LayerNorm(6, elementwise_affine=False), (3, 5, 6)),
        (nn.LayerNorm(6, bias=False), (3, 5, 6)),
        (nn.LayerNorm((4, 6)), (3, 4, 6)),
        (nn.GroupNorm(3, 6), (2, 6, 4, 4)),
        (nn.GroupNorm(2, 6, affine=False), (2, 6, 4, 4)),
        (nn.Linear(6, 6), (2, 5, 6)),
        (nn.Linear(6, 6, bias=False), (4, 6)),
    ],
    ids=str,
)
def test_a_layer_is_the_map_of_its_output(norm, shape):
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    z, site = torch.randn(shape, generator=seeded()), _site(norm, 6)
    along = (1, 6, 1, 1) if len(shape) == 4 else (6,)
    expected = site.move.factor[0].reshape(along) * norm(z) + site.move.shift[0].reshape(along)
    with folded(site) as taken:
        assert taken
        assert torch.allclose(norm(z), expected, atol=1e-5)
        with torch.no_grad():
            for parameter in norm.parameters():
                parameter.copy_(parameter.clone())
        assert torch.allclose(norm(z), expected, atol=1e-5)
    assert "forward" not in vars(norm)


def test_new_numbers_are_seen():
    norm = nn.LayerNorm(6)
    site, z = _site(norm, 6), torch.randn(2, 6, generator=seeded())
    with folded(site):
        before = norm(z)
        site.move = Move.of(2 * site.move.factor, site.move.shift)
        assert torch.allclose(norm(z) - site.move.shift, 2 * (before - site.move.shift), atol=1e-5)
        norm.weight = nn.Parameter(3 * norm.weight.detach())
        assert torch.allclose(norm(z) - site.move.shift, 6 * (before - site.move.shift), atol=1e-4)


def test_a_norm_that_moves_between_devices_is_folded_again():
    """Offloading moves a parameter's data: the objects that were folded stay the same."""
    norm = nn.LayerNorm(6, elementwise_affine=False)
    site = _site(norm, 6)
    with folded(site):
        for device in ("cpu", "meta"):
            assert norm(torch.zeros(2, 6, device=device)).device.type == device
            assert norm.forward.layer._weight.device.type == device


def _is_folded(site: SteeredSite) -> bool:
    with folded(site) as taken:
        return taken


def test_other_layers_and_rows_of_strengths_keep_their_hooks():
    assert not _is_folded(_site(nn.Conv2d(6, 6, 1), 6))
    assert not _is_folded(_site(nn.LayerNorm(6), 6, strengths=torch.tensor([0.0, 1.0])))
    late = _site(nn.LayerNorm(6), 6, strengths=torch.tensor([0.0, 1.0]), window=(0.5, 1.0))
    assert len(late.move) == 1, "the identity, until its part of the schedule comes"
    assert not _is_folded(late)
    taken = nn.LayerNorm(6)
    taken.forward = taken.forward
    assert not _is_folded(_site(taken, 6))


def test_a_linear_layer_carries_a_low_rank_part():
    layer, z = nn.Linear(4, 6), torch.randn(3, 4, generator=seeded())
    site = _site(layer, 6, rank=2)
    expected = site.move.apply(layer(z))
    with folded(site) as taken:
        assert taken
        assert torch.allclose(layer(z), expected, atol=1e-5)


def test_gradients_come_through_the_hook():
    layer = nn.Linear(4, 6)
    site, z = _site(layer, 6), torch.randn(3, 4, generator=seeded(), requires_grad=True)
    with folded(site), torch.enable_grad():
        for _ in range(2):
            layer(z).sum().backward()
    assert layer.weight.grad is not None


def test_autocast_is_computed_as_by_the_hook():
    layer = nn.Linear(6, 6)
    z, site = torch.randn(4, 6, generator=seeded()), _site(layer, 6)
    with torch.autocast("cpu", torch.bfloat16):
        expected = site.edit(layer(z))
        with folded(site):
            assert torch.equal(layer(z), expected)


def test_numbers_that_are_written_over_are_seen():
    layer = nn.Linear(6, 6)
    z, site = torch.randn(4, 6, generator=seeded()), _site(layer, 6)
    with folded(site):
        before = layer(z)
        layer.weight.zero_()
        layer.bias.zero_()
        assert not torch.equal(layer(z), before)
        assert torch.allclose(layer(z), site.move.shift.expand(4, 6))


@pytest.mark.parametrize("window", [(0.0, 1.0), (0.5, 1.0)])
def test_a_map_that_mixes_features_keeps_its_hook(window):
    assert not _is_folded(_site(nn.LayerNorm(6), 6, rank=2, window=window))
    assert _is_folded(_site(nn.LayerNorm(6), 6, window=window))


def test_rows_of_strengths_that_begin_later_are_not_the_first_rows(pipe, norm_maps):
    pipe.load_steering(norm_maps)
    both = _array(pipe, strength=[1.0, 0.3], steering_start=0.5)
    alone = _array(pipe, strength=0.3, steering_start=0.5)
    assert np.abs(both[1:] - alone).max() < 1e-4
    assert np.abs(both[0] - both[1]).max() > 0.01


def test_pictures_of_maps_that_mix_features_on_norms(pipe, norm_maps):
    """The call's own way and hooks put by hand, for a set where some maps have a low-rank part."""
    name = "unet.mid_block.resnets.0.norm1"
    maps = norm_maps.subset("unet") + SteeringMaps.of({name: _mixing(128)})
    pipe.load_steering(maps)
    with maps.apply(pipe, 0.7):
        hooked = _array(pipe.base)
    assert np.abs(_array(pipe, strength=0.7) - hooked).max() < 1e-4
    pipe.load_steering(norm_maps)
    assert np.abs(_array(pipe, strength=0.7) - hooked).max() > 1e-3


def _mixing(features: int) -> AffineMap:
    affine = AffineMap(features, rank=3).requires_grad_(False)
    for number, part in enumerate((affine.up, affine.down)):
        part.copy_((0.3, 0.03)[number] * torch.randn(part.shape, generator=seeded(5 + number)))
    return affine


def test_half_precision_is_computed_as_by_the_hook():
    norm = nn.LayerNorm(6).to(torch.bfloat16)
    z, site = torch.randn(4, 6, generator=seeded()).to(torch.bfloat16), _site(norm, 6)
    expected = site.edit(norm(z))
    with folded(site):
        assert torch.equal(norm(z), expected)
        assert norm(z).dtype == torch.bfloat16


def test_the_first_of_two_threads_takes_the_norm():
    norm = nn.LayerNorm(6)
    first, second = _site(norm, 6), _site(norm, 6)
    with folded(first) as taken:
        with folded(second) as again:
            assert (taken, again) == (True, False)
        assert "forward" in vars(norm)


def test_pictures_are_those_of_hooks(pipe, norm_maps):
    pipe.load_steering(norm_maps)
    for strength in (1.0, -0.5):
        with norm_maps.apply(pipe, strength):
            hooked = _array(pipe.base)
        assert np.abs(_array(pipe, strength=strength) - hooked).max() < 1e-4
        assert np.abs(_array(pipe, strength=0) - hooked).max() > 0.05


@pytest.mark.parametrize("window", [{"steering_start": 0.5}, {"steering_end": 0.5}], ids=str)
def test_the_window_holds_within_norms(pipe, norm_maps, window):
    pipe.load_steering(norm_maps)
    row = _array(pipe, strength=[1.0, 1.0], **window)[:1]  # two rows: hooks
    assert np.abs(_array(pipe, strength=1.0, **window) - row).max() < 1e-4
    assert np.abs(_array(pipe, strength=1.0) - row).max() > 0.01


def test_a_call_uses_them_and_leaves_nothing(pipe, norm_maps):
    pipe.load_steering(norm_maps)
    counts = []

    def count(*_):
        counts.append(_forwards_replaced(pipe))
        return {}

    _array(pipe, strength=1.0, callback_on_step_end=count)
    assert set(counts) == {len(list(norm_maps.acting()))}
    _array(pipe, strength=1.0, guidance_scale=2.0, steering_guidance="cond", callback_on_step_end=count)
    assert counts[-1] == 0
    assert _forwards_replaced(pipe) == 0

    def fail(*_):
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="middle"):
        _array(pipe, strength=1.0, callback_on_step_end=fail)
    assert _forwards_replaced(pipe) == 0


def test_another_thread_sees_the_base_model(pipe, norm_maps):
    pipe.load_steering(norm_maps)
    z = torch.randn(2, 4, 16, 16, generator=seeded())
    text = torch.randn(2, 24, 128, generator=seeded())

    def predict():
        with torch.no_grad():
            return pipe.unet(z, 500, text).sample

    before, inside = predict(), []

    def elsewhere(*_):
        thread = threading.Thread(target=lambda: inside.append(predict()))
        thread.start()
        thread.join()
        inside.append(predict())
        return {}

    _array(pipe, strength=1.0, num_inference_steps=1, callback_on_step_end=elsewhere)
    assert torch.equal(inside[0], before)
    assert (inside[1] - before).abs().max() > 0.01


def test_steering_within_a_steered_call_still_acts(pipe, norm_maps):
    """A context that opens around a call, and the call's own steering: both act, the call's first."""
    pipe.load_steering(norm_maps)
    with ExitStack() as stack:
        stack.enter_context(norm_maps.apply(pipe, 0.5))
        both = _array(pipe, strength=0.5)
    assert np.abs(both - _array(pipe, strength=0.5)).max() > 0.01
    with norm_maps.apply(pipe, 0.5), norm_maps.apply(pipe, 0.5):
        assert np.abs(_array(pipe.base) - both).max() < 1e-4
