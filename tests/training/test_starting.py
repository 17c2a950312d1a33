"""The start in closed form against least squares by another way."""

from __future__ import annotations

import pytest
import torch

from linea_diffusion.maps.steering_maps import SteeringMaps
from linea_diffusion.steering.affine.affine_map import AffineMap
from linea_diffusion.training.loss.starting import start_from_regression

from ..conftest import seeded

FEATURES, RANK = 6, 2


def _pairs(rank: int, shift: float) -> tuple[dict, dict]:
    """Activations at two steps whose change is of low rank."""
    draw = seeded(0)
    u, v = torch.randn(FEATURES, rank, generator=draw), torch.randn(FEATURES, rank, generator=draw)
    b = shift * torch.randn(FEATURES, generator=draw)
    source = {("unet.a", step, 0): torch.randn(40, 5, FEATURES, generator=draw) for step in range(2)}
    return source, {place: x + x @ v @ u.mT + b for place, x in source.items()}


def _started(source: dict, target: dict, share: float, *, shift: bool, bins: int = 1) -> AffineMap:
    affine = AffineMap(FEATURES, bins, RANK)
    affine.learn(scale=False, shift=shift, draw=seeded(0))
    start_from_regression(SteeringMaps.of({"unet.a": affine}), source, target, share)
    return affine


@pytest.mark.parametrize("shift", [False, True])
def test_a_change_of_low_rank_is_found(shift):
    source, target = _pairs(RANK, float(shift))
    affine = _started(source, target, 1.0, shift=shift)
    for place, x in source.items():
        error = (affine(x) - target[place]).norm() / (x - target[place]).norm()
        assert error < 0.03  # the ridge
    assert torch.allclose(affine.down.norm(dim=0), torch.ones(RANK))
    assert not affine.scale_offset.any()
    assert shift or not affine.shift.any()


def test_a_share_of_it_keeps_the_directions():
    source, target = _pairs(RANK, 1.0)
    full, part = (_started(source, target, share, shift=True) for share in (1.0, 0.3))
    assert torch.equal(full.down, part.down)
    assert torch.allclose(0.3 * full.up, part.up)
    assert torch.allclose(0.3 * full.shift, part.shift)
    assert _started(source, target, 0.0, shift=True).is_identity


def test_of_more_than_its_rank_it_takes_what_explains_most():
    source, target = _pairs(4, 0.0)
    affine = _started(source, target, 1.0, shift=False)
    x, y = (torch.cat([side[place].flatten(0, 1) for place in side]) for side in (source, target))
    slopes = torch.linalg.lstsq(x, y - x).solution
    best = torch.linalg.svd(x @ slopes)[1][RANK:].square().sum()  # Eckart and Young
    assert ((affine(x) - y).square().sum() / best).item() == pytest.approx(1, abs=0.05)


def test_bins_start_alike():
    source, target = _pairs(RANK, 0.0)
    affine = _started(source, target, 0.5, shift=False, bins=2)
    assert torch.equal(affine.up[0], affine.up[1])
    assert affine.up.any()


@pytest.mark.parametrize("shift", [False, True])
def test_an_activation_that_never_varies_has_a_shift_at_most(shift):
    source = {("unet.a", 0, 0): torch.ones(40, 5, FEATURES)}
    affine = _started(source, {place: 3 * x for place, x in source.items()}, 0.5, shift=shift)
    fresh = AffineMap(FEATURES, 1, RANK)
    fresh.learn(scale=False, shift=shift, draw=seeded(0))
    if shift:
        assert torch.equal(affine.shift, torch.ones(FEATURES))
        assert torch.equal(affine.down, fresh.down)
    else:
        x = torch.ones(1, FEATURES)
        torch.testing.assert_close(affine(x), 2 * x, atol=0.02, rtol=0)
    dead = _started({place: 0 * x for place, x in source.items()}, source, 0.5, shift=shift)
    assert torch.equal(dead.down, fresh.down)
    assert not dead.up.any()
