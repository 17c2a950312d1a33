"""The loss against independent solvers, by numerical gradients and by what a distance must do."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from linea_diffusion import LineaError, steering_loss, wasserstein_1d
from linea_diffusion.training.loss.distances import interpolate_laws, match_quantiles

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


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize(("n", "m"), SIZES)
def test_every_power_equals_pot(n, m, p):
    x, y = _samples(n, m)
    expected = [ot.wasserstein_1d(x[:, j].numpy(), y[:, j].numpy(), p=p) for j in range(3)]
    np.testing.assert_allclose(wasserstein_1d(x, y, p=p).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_power_1_equals_scipy(n, m):
    x, y = _samples(n, m)
    expected = [wasserstein_distance(x[:, j].numpy(), y[:, j].numpy()) for j in range(3)]
    np.testing.assert_allclose(wasserstein_1d(x, y, p=1).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_a_shift_costs_its_power_and_nothing_at_rest(p):
    x, _ = _samples(6, 1)
    torch.testing.assert_close(wasserstein_1d(x, x - 2.5, p=p), torch.full((3,), 2.5**p).double())
    at_rest = x.clone().requires_grad_()
    wasserstein_1d(at_rest, x, p=p).sum().backward()
    assert not at_rest.grad.any()  # also where |x|^p has no second derivative


@pytest.mark.parametrize("p", [0.5, 0.999, 0, -1, math.nan, math.inf])
def test_powers_that_give_no_distance_are_refused(p):
    x, y = _samples(3, 4)
    with pytest.raises(LineaError, match="a power of 1 or more"):
        wasserstein_1d(x, y, p=p)


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


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 6), (6, 4)])
def test_gradient(n, m, p):
    x, y = _samples(n, m)
    distance = partial(wasserstein_1d, p=p)
    assert torch.autograd.gradcheck(distance, (x.requires_grad_(), y.requires_grad_()))


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_matched_quantiles_are_pots_plan(n, m):
    x, y = _samples(n, m)
    a, b, masses = match_quantiles(x, y)
    pieces = n if n == m else n + m - math.gcd(n, m)
    assert (a.shape, b.shape, masses.shape) == ((pieces, 3), (pieces, 3), (pieces, 1))
    assert masses.sum().item() == pytest.approx(1, abs=1e-12)
    assert (masses > 0).all()
    for j in range(3):
        rows, columns = ((samples[:, j, None] == side[:, j]).double() for samples, side in ((a, x), (b, y)))
        # Each sample is matched as a whole: the masses of its pieces add up to 1/n, or 1/m.
        torch.testing.assert_close(rows.T @ masses[:, 0], torch.full((n,), 1 / n).double())
        torch.testing.assert_close(columns.T @ masses[:, 0], torch.full((m,), 1 / m).double())
        plan = ot.emd_1d(x[:, j].numpy(), y[:, j].numpy())
        np.testing.assert_allclose((rows.T @ (masses * columns)).numpy(), plan, atol=1e-12)


def test_matched_quantiles_keep_dtype_and_trailing_shape():
    a, b, masses = match_quantiles(torch.randn(4, 2, 3), torch.randn(6, 2, 3))
    assert (a.shape, b.shape, masses.shape) == ((8, 2, 3), (8, 2, 3), (8, 1, 1))
    assert masses.dtype == torch.float32


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
    distance = wasserstein_1d(x, y).sqrt()
    for fraction in (0.0, 0.3, 1.0):
        between = interpolate_laws(x, y, fraction)
        assert torch.allclose(wasserstein_1d(x, between).sqrt(), fraction * distance, atol=1e-9)
        assert torch.allclose(wasserstein_1d(between, y).sqrt(), (1 - fraction) * distance, atol=1e-9)


def test_steering_loss_averages_or_adds_places():
    a, b = _samples(4, 6)
    source, target = {"one": a, "two": a[:, :2]}, {"one": b, "two": b[:, :2]}
    each = [wasserstein_1d(source[place], target[place]).mean() for place in source]
    assert torch.allclose(steering_loss(source, target), sum(each) / 2)
    assert torch.allclose(steering_loss(source, target, reduction="sum"), sum(each))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_scaled_by_the_variance_of_each_places_targets(reduction):
    a, b = _samples(4, 6)
    source, target = {"one": a, "two": 7 * a}, {"one": b, "two": 7 * b + 5}
    expected = 0.0
    for place in source:
        distances = [ot.wasserstein_1d(source[place][:, j].numpy(), target[place][:, j].numpy(), p=2) for j in range(3)]
        expected += np.mean(distances) / target[place].numpy().var(axis=0).mean()
    expected /= 2 if reduction == "mean" else 1
    loss = steering_loss(source, target, reduction=reduction, scale_by_variance=True)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    assert loss.item() != pytest.approx(steering_loss(source, target, reduction=reduction).item(), rel=0.1)


def test_scaled_loss_has_no_unit():
    a, b = _samples(4, 6)
    plain, large = (steering_loss({"one": u * a}, {"one": u * b}, scale_by_variance=True) for u in (1, 1000))
    assert large.item() == pytest.approx(plain.item(), rel=1e-9)


def test_a_place_whose_targets_do_not_vary_does_not_drown_the_others_when_scaled():
    # Text encoders see the same empty prompt in every row when guidance is on.
    a, b = (samples.float() for samples in _samples(4, 6))
    source, target = {"one": a, "empty": torch.full((4, 3), 1.1)}, {"one": b, "empty": torch.ones(6, 3)}
    plain = steering_loss(source, target)
    assert 0 < steering_loss(source, target, scale_by_variance=True) < 1000 * plain


def test_steering_loss_wants_the_same_places():
    a, b = _samples(4, 4)
    with pytest.raises(LineaError, match="two"):
        steering_loss({"one": a}, {"one": b, "two": b})
