"""Pruning: how many numbers go when, which, and that those which went never come back.

Evidence: schedules and saliencies worked out by hand.
"""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from linea_diffusion.training.sparsity import Pruning


def _parameters(*values: list[float]) -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor(part)) for part in values]


def _give(parameters: list[nn.Parameter], *grads: list[float]) -> None:
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = torch.tensor(grad)


@given(count=st.integers(1, 500), sparsity=st.floats(0, 0.999), iterations=st.integers(1, 120))
@settings(max_examples=100, deadline=None)
def test_numbers_left_only_fall_and_end_at_the_target(count, sparsity, iterations):
    pruning = Pruning([nn.Parameter(torch.zeros(count))], sparsity=sparsity, iterations=iterations)
    left = [pruning.kept_after(iteration) for iteration in range(iterations)]
    assert left == sorted(left, reverse=True)
    assert 1 <= left[-1] <= left[0] <= count
    assert left[-1] == max(1, round(count * (1 - sparsity)))


def test_numbers_left_follow_the_cubic_curve():
    # Zhu and Gupta: pruned share s_f * (1 - (1 - t)^3), with t from 0 at 35% to 1 at 80% of the training.
    pruning = Pruning([nn.Parameter(torch.zeros(10_000))], sparsity=0.8, iterations=100)
    for iteration in range(100):
        t = min(max(Fraction(iteration + 1 - 35, 45), Fraction(0)), Fraction(1))
        pruned = Fraction(8, 10) * (1 - (1 - t) ** 3)
        assert pruning.kept_after(iteration) == pytest.approx(float(10_000 * (1 - pruned)), abs=0.51)
    assert pruning.kept_after(34) == 10_000
    assert pruning.kept_after(76) > pruning.kept_after(79) == 2000


@pytest.mark.parametrize(("count", "sparsity", "left"), [(10, 0.999, 1), (1, 0.5, 1), (10, 0.5, 5), (8, 0.25, 6)])
def test_the_target_is_met_exactly_and_one_number_stays(count, sparsity, left):
    parameters = [nn.Parameter(torch.arange(1.0, count + 1))]
    pruning = Pruning(parameters, sparsity=sparsity, iterations=20)
    for iteration in range(20):
        _give(parameters, [1.0] * count)
        pruning.observe()
        pruning.prune(iteration)
        assert int(parameters[0].count_nonzero()) == pruning.kept_after(iteration) == int(pruning.mask.sum())
    # With equal gradients the largest numbers are the most salient.
    assert parameters[0].tolist() == [0.0] * (count - left) + list(range(count - left + 1, count + 1))


def test_the_least_salient_go_first_whatever_the_sign_and_the_parameter():
    # |gradient * number|: 6, 2, 1, 12 and 5, 4, 3: neither the number, nor the gradient, nor the sign decides.
    parameters = _parameters([3.0, 0.1, -10.0, 1.0], [[-5.0, 40.0, 0.3]])
    pruning = Pruning(parameters, sparsity=0.95, iterations=1000)
    _give(parameters, [-2.0, 20.0, -0.1, 12.0], [[1.0, 0.1, 10.0]])
    pruning.observe()
    order = []
    for iteration in range(1000):
        before = torch.cat([parameter.flatten() for parameter in parameters]).tolist()
        pruning.prune(iteration)
        after = torch.cat([parameter.flatten() for parameter in parameters]).tolist()
        order += [place for place in range(7) if before[place] != 0 and after[place] == 0]
        assert all(after[place] in (before[place], 0.0) for place in range(7))  # nothing else moves
    assert order == [2, 1, 6, 5, 4, 0]


def test_squares_are_a_running_mean():
    parameters = _parameters([1.0, 2.0], [-3.0])
    pruning = Pruning(parameters, sparsity=0.5, iterations=100)
    _give(parameters, [4.0, -1.0], [2.0])
    pruning.observe()
    torch.testing.assert_close(pruning.squares, 0.1 * torch.tensor([16.0, 1.0, 4.0]))
    _give(parameters, [4.0, 7.0], [1.0])
    pruning.observe()
    expected = 0.9 * 0.1 * torch.tensor([16.0, 1.0, 4.0]) + 0.1 * torch.tensor([16.0, 49.0, 1.0])
    torch.testing.assert_close(pruning.squares, expected)


def test_a_gradient_that_swings_is_as_salient_as_a_steady_one_of_its_size():
    parameters = _parameters([1.0, 1.0])
    pruning = Pruning(parameters, sparsity=0.5, iterations=100)
    for turn in range(60):
        _give(parameters, [5.0 * (-1) ** turn, 1.0])
        pruning.observe()
    pruning.prune(99)
    assert parameters[0].tolist() == [1.0, 0.0]


def test_a_parameter_without_gradient_counts_as_not_salient():
    parameters = _parameters([1.0, 1.0], [1.0, 1.0])
    parameters[1].grad = torch.ones(2)
    pruning = Pruning(parameters, sparsity=0.5, iterations=10)
    pruning.observe()
    pruning.prune(9)
    assert [parameter.tolist() for parameter in parameters] == [[0.0, 0.0], [1.0, 1.0]]


def test_pruned_numbers_stay_zero_when_the_optimiser_moves_them():
    parameters = _parameters([1.0, 2.0, 3.0, 4.0])
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    pruning = Pruning(parameters, sparsity=0.5, iterations=20)
    gone = torch.zeros(4, dtype=torch.bool)
    for iteration in range(20):
        _give(parameters, [1.0, 1.0, 1.0, 1.0])
        pruning.observe()
        # A pruned number's gradient is gone too; Adam's momentum still moves it.
        assert not parameters[0].grad[gone].any()
        assert parameters[0].grad[~gone].all()
        optimizer.step()
        assert not gone.any() or iteration > 18 or parameters[0][gone].any()
        pruning.prune(iteration)
        assert (parameters[0][gone] == 0).all()
        gone |= (parameters[0] == 0).detach()
    assert gone.tolist() == [True, True, False, False]


def test_a_pruned_number_never_comes_back_even_if_it_was_more_salient_than_the_others_are_now():
    parameters = _parameters([1.0, 1.0, 1.0, 1.0])
    pruning = Pruning(parameters, sparsity=0.9, iterations=100)
    _give(parameters, [1.0, 2.0, 3.0, 4.0])
    pruning.observe()
    pruning.prune(next(iteration for iteration in range(100) if pruning.kept_after(iteration) == 3))
    assert parameters[0].tolist() == [0.0, 1.0, 1.0, 1.0]
    pruning.squares.zero_()
    pruning.squares[0] = 1.0
    pruning.prune(99)
    assert parameters[0][0] == 0
    assert int(parameters[0].count_nonzero()) == 1


def test_no_sparsity_does_nothing():
    parameters = _parameters([1.0, 0.0, -3.0])
    pruning = Pruning(parameters, sparsity=0.0, iterations=4)
    for iteration in range(4):
        _give(parameters, [1.0, 2.0, 3.0])
        pruning.observe()
        pruning.prune(iteration)
    assert parameters[0].tolist() == [1.0, 0.0, -3.0]
    assert parameters[0].grad.tolist() == [1.0, 2.0, 3.0]
    assert pruning.mask.all()
    assert not pruning.squares.any()
