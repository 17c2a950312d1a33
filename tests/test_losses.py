"""The loss against independent solvers, by numerical gradients and by what a distance must do."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from linea_diffusion import LineaError, steering_loss, wasserstein_1d
from linea_diffusion.losses import interpolate_laws

SIZES = [(1, 1), (5, 5), (4, 32), (32, 4), (7, 12), (31, 1)]


def _samples(n: int, m: int, d: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x, 2 * torch.randn(m, d, generator=rng, dtype=torch.float64) + 1


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_equals_pot(n, m):
    x, y = _samples(n, m)
    expected = [ot.wasserstein_1d(x[:, j].numpy(), y[:, j].numpy(), p=2) for j in range(3)]
    np.testing.assert_allclose(wasserstein_1d(x, y).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_equals_linear_program(n, m):
    x, y = _samples(n, m, d=1)
    cost = (x - y.T).square().numpy()
    expected = ot.emd2(np.full(n, 1 / n), np.full(m, 1 / m), cost)
    assert wasserstein_1d(x, y).item() == pytest.approx(expected, rel=1e-9)


def test_point_masses_agree_with_scipy():
    # For single points W2 squared is W1 squared, which SciPy knows.
    x, y = _samples(1, 1)
    expected = [wasserstein_distance(x[:, j].numpy(), y[:, j].numpy()) ** 2 for j in range(3)]
    np.testing.assert_allclose(wasserstein_1d(x, y).numpy(), expected, rtol=1e-12)


@given(shift=st.floats(-5, 5), n=st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_a_shift_costs_its_square_as_scipy_says(shift, n):
    x, _ = _samples(n, 1, d=1, seed=n)
    moved = x + shift
    expected = wasserstein_distance(x[:, 0].numpy(), moved[:, 0].numpy()) ** 2
    assert wasserstein_1d(x, moved).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 6), (6, 4)])
def test_gradient(n, m):
    x, y = _samples(n, m)
    assert torch.autograd.gradcheck(wasserstein_1d, (x.requires_grad_(), y.requires_grad_()))


def test_unequal_sizes_of_one_law_have_no_floor():
    # Each target four times among the sources' twins: the same law, whatever the sizes.
    x, _ = _samples(8, 1)
    assert wasserstein_1d(x, x.repeat(4, 1)).abs().max() < 1e-24


def test_order_of_samples_does_not_matter():
    x, y = _samples(6, 9)
    assert torch.allclose(wasserstein_1d(x, y), wasserstein_1d(x.flip(0), y.roll(2, 0)))


def test_bad_shapes_say_so():
    with pytest.raises(LineaError, match=r"\(4, 3\) and \(4, 2\)"):
        wasserstein_1d(torch.zeros(4, 3), torch.zeros(4, 2))
    with pytest.raises(LineaError, match="n, m >= 1"):
        wasserstein_1d(torch.zeros(0, 3), torch.zeros(4, 3))


@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 6), (3, 7)])
def test_interpolated_laws_lie_on_the_shortest_way(n, m):
    x, y = _samples(n, m)
    whole = wasserstein_1d(x, y).sqrt()
    for fraction in (0.0, 0.3, 1.0):
        between = interpolate_laws(x, y, fraction)
        assert torch.allclose(wasserstein_1d(x, between).sqrt(), fraction * whole, atol=1e-9)
        assert torch.allclose(wasserstein_1d(between, y).sqrt(), (1 - fraction) * whole, atol=1e-9)


def test_steering_loss_averages_or_adds_places():
    a, b = _samples(4, 6)
    source, target = {"one": a, "two": a[:, :2]}, {"one": b, "two": b[:, :2]}
    each = [wasserstein_1d(source[place], target[place]).mean() for place in source]
    assert torch.allclose(steering_loss(source, target), sum(each) / 2)
    assert torch.allclose(steering_loss(source, target, reduction="sum"), sum(each))


def test_steering_loss_wants_the_same_places():
    a, b = _samples(4, 4)
    with pytest.raises(LineaError, match="two"):
        steering_loss({"one": a}, {"one": b, "two": b})
