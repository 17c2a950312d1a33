"""The proximal operators against brute force, by theorem (Moreau envelope), and in the optimiser's metric.

Evidence: SciPy minimises what each operator claims to minimise; finite differences check the envelope theorem.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from linea_diffusion.training.sparsity import group_soft_threshold, soft_threshold, sparse_group_threshold

numbers = st.integers(-300, 300).map(lambda number: number / 100)  # no number whose square underflows
weights = st.sampled_from([0.0, 0.05, 0.3, 1.0, 2.5])
metrics = st.floats(0.2, 5)
problems = st.integers(1, 4).flatmap(
    lambda size: st.tuples(
        st.lists(numbers, min_size=size, max_size=size),
        st.one_of(metrics, st.lists(metrics, min_size=size, max_size=size)),
    )
)


def _tensors(problem) -> tuple[torch.Tensor, float | torch.Tensor]:
    values, metric = problem
    metric = torch.tensor(metric, dtype=torch.float64) if isinstance(metric, list) else metric
    return torch.tensor(values, dtype=torch.float64), metric


def _objective(x, v, d, l1, group):
    """1/2 ||x - v||_D^2 + l1 ||x||_1 + group ||x||_2."""
    return 0.5 * (d * (x - v) ** 2).sum() + l1 * np.abs(x).sum() + group * np.linalg.norm(x)


def _brute_force(v, d, l1, group):
    """The minimiser, by L-BFGS over positive and negative parts; the objective's one other kink is x = 0."""
    size = len(v)

    def smooth(parts):
        x = parts[:size] - parts[size:]
        norm = max(np.linalg.norm(x), 1e-300)
        slope = d * (x - v) + group * x / norm
        value = 0.5 * (d * (x - v) ** 2).sum() + l1 * parts.sum() + group * norm
        return value, np.concatenate([slope + l1, l1 - slope])

    start = np.concatenate([np.maximum(v, 0) + 0.01, np.maximum(-v, 0)])
    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 2000}
    parts = minimize(smooth, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * (2 * size), options=options).x
    minimum = parts[:size] - parts[size:]
    zero = np.zeros(size)
    return min(minimum, zero, key=lambda x: _objective(x, v, d, l1, group))


@given(problem=problems, l1=weights, group=weights)
@settings(max_examples=150, deadline=None)
def test_no_other_point_is_better_in_a_diagonal_metric(problem, l1, group):
    v, metric = _tensors(problem)
    d = np.broadcast_to(np.asarray(metric), v.shape)
    other = _brute_force(v.numpy(), d, l1, group)
    minimum = sparse_group_threshold(v, l1, group, metric=metric).numpy()
    worse = _objective(other, v.numpy(), d, l1, group) - _objective(minimum, v.numpy(), d, l1, group)
    # The objective is strongly convex in the metric: other points are worse by half their squared distance.
    assert worse >= 0.5 * (d * (minimum - other) ** 2).sum() - 1e-12


@given(problem=problems, l1=weights, group=weights)
@settings(max_examples=150, deadline=None)
def test_the_conditions_of_optimality_hold(problem, l1, group):
    # 0 in D (x - v) + l1 d||x||_1 + group d||x||_2: necessary and sufficient, since all of it is convex.
    v, metric = _tensors(problem)
    x = sparse_group_threshold(v, l1, group, metric=metric)
    pull = metric * (v - x)
    if not x.any():
        assert (pull.abs() - l1).clamp_min(0).norm() <= group + 1e-12
    else:
        rest = pull - group * x / x.norm()
        assert (rest.abs() <= l1 + 1e-9).all()
        torch.testing.assert_close(rest[x != 0], l1 * x[x != 0].sign(), rtol=0, atol=1e-9)


@given(v=numbers, tau=weights, d=metrics)
@settings(max_examples=50, deadline=None)
def test_soft_threshold_of_a_number(v, tau, d):
    expected = minimize_scalar(
        lambda x: 0.5 * d * (x - v) ** 2 + tau * abs(x), bounds=(-4, 4), method="bounded", options={"xatol": 1e-10}
    ).x
    assert soft_threshold(torch.tensor(v, dtype=torch.float64), tau, metric=d).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_the_sparse_group_penalty_holds_both():
    v, d = torch.tensor([0.5, -2.0, 1.0]).double(), torch.tensor([1.0, 3.0, 0.5]).double()
    assert torch.equal(sparse_group_threshold(v, 0.7, 0.0, metric=d), soft_threshold(v, 0.7, metric=d))
    assert torch.equal(sparse_group_threshold(v, 0.0, 0.7, metric=d), group_soft_threshold(v, 0.7, metric=d))


OPERATORS = {
    "l1": (lambda v, d: soft_threshold(v, 0.6, metric=d), 0.6, 0.0),
    "group": (lambda v, d: group_soft_threshold(v, 0.9, metric=d), 0.0, 0.9),
    "sparse group": (lambda v, d: sparse_group_threshold(v, 0.4, 0.5, metric=d), 0.4, 0.5),
}


@pytest.mark.parametrize("kind", OPERATORS)
@given(problem=problems)
@settings(max_examples=60, deadline=None)
def test_moreau_envelope_has_the_gradient_of_the_theorem(kind, problem):
    # grad e(v) = D (v - prox(v)) for e(v) = min_x 1/2 ||x - v||_D^2 + g(x); e is smooth although g is not.
    prox, l1, group = OPERATORS[kind]
    v, metric = _tensors(problem)
    d = np.broadcast_to(np.asarray(metric), v.shape)

    def envelope(v):
        return _objective(prox(v, metric).numpy(), v.numpy(), d, l1, group)

    step = 1e-5
    moves = step * torch.eye(len(v), dtype=torch.float64)
    slopes = [(envelope(v + move) - envelope(v - move)) / (2 * step) for move in moves]
    np.testing.assert_allclose(slopes, d * (v - prox(v, metric)).numpy(), atol=2e-4)


@pytest.mark.parametrize("kind", OPERATORS)
@given(problem=problems, other=st.lists(numbers, min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_firmly_nonexpansive_in_the_metric(kind, problem, other):
    prox = OPERATORS[kind][0]
    u, metric = _tensors(problem)
    v = torch.tensor(other[: len(u)], dtype=torch.float64)
    moved = prox(u, metric) - prox(v, metric)
    assert (metric * moved * (u - v)).sum() >= (metric * moved**2).sum() - 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_are_exact(dtype):
    v = torch.tensor([0.5, -0.5, 0.51, -0.49, 0.0, 3.0], dtype=dtype)
    assert (soft_threshold(v, 0.5) == 0).tolist() == [True, True, False, True, True, False]
    d = torch.tensor([1.0, 0.9, 0.5, 2.0, 1.0, 0.1], dtype=dtype)
    assert (soft_threshold(v, 0.5, metric=d) == 0).tolist() == [True, True, True, False, True, True]


def test_a_group_vanishes_as_a_whole_or_not_at_all():
    v, d = torch.tensor([0.3, -0.4, 1e-3]), torch.tensor([2.0, 5.0, 1.0])
    threshold = (d * v).double().norm().item()
    assert not group_soft_threshold(v, threshold * 1.0001, metric=d).any()
    shrunk = group_soft_threshold(v, threshold * 0.999, metric=d)
    assert (shrunk != 0).all()
    assert (shrunk.abs() < 0.01 * v.abs()).all()
    assert (shrunk.sign() == v.sign()).all()
    assert not group_soft_threshold(torch.zeros(3), 0.1, metric=d).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_penalty_changes_nothing_bit_for_bit(dtype):
    rng = torch.Generator().manual_seed(0)
    v, d = torch.randn(500, generator=rng, dtype=dtype), torch.rand(500, generator=rng, dtype=dtype) + 0.1
    for metric in (1.0, 2.5, d):
        assert torch.equal(soft_threshold(v, 0.0, metric=metric), v)
        assert torch.equal(group_soft_threshold(v, 0.0, metric=metric), v)
        assert torch.equal(sparse_group_threshold(v, 0.0, 0.0, metric=metric), v)


@pytest.mark.parametrize("tau", [0.01, 1.0, 4.99, 5.0, 5.01])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_closed_form_of_the_group_in_the_plain_metric(tau, scale):
    v = scale * torch.tensor([[3.0, 0.0], [0.0, -4.0]]).double()
    expected = v * max(1 - tau / 5, 0)
    assert torch.allclose(group_soft_threshold(v, scale * tau), expected, rtol=1e-12, atol=1e-12 * scale)
    # In the metric c everywhere the penalty weighs 1/c of it.
    assert torch.allclose(
        group_soft_threshold(v, 3 * scale * tau, metric=3.0), expected, rtol=1e-12, atol=1e-12 * scale
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dtype_and_shape_are_kept(dtype):
    v = torch.ones(2, 3, dtype=dtype)
    for result in (soft_threshold(v, 0.1), group_soft_threshold(v, 0.1), sparse_group_threshold(v, 0.1, 0.1)):
        assert (result.dtype, result.shape) == (dtype, v.shape)


def test_preconditioned_steps_find_the_lasso_only_if_the_prox_knows_the_metric():
    # min 1/2 sum h (x - a)^2 + l1 |x|_1 has the solution soft(a, l1 / h). Steps are g / D, D as uneven as Adam's.
    a, h = torch.tensor([2.0, -1.2, 0.3, 0.05]).double(), torch.tensor([1.0, 0.5, 1.0, 4.0]).double()
    metric, l1 = torch.tensor([30.0, 1.0, 2.0, 100.0]).double(), 0.4
    solution = torch.tensor([1.6, -0.4, 0.0, 0.0]).double()

    def iterate(metric_of_prox):
        x = torch.ones(4).double()
        for _ in range(2000):
            x = soft_threshold(x - h * (x - a) / metric, l1, metric=metric_of_prox)
        return x

    limit = iterate(metric)
    assert torch.allclose(limit, solution, atol=1e-9)
    assert (limit[2:] == 0).all()
    assert (iterate(metric.mean()) - solution).abs().max() > 0.3
