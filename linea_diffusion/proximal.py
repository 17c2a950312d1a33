"""Proximal operators of the sparsity penalties, in the metric in which the optimiser steps.

For a penalty g and a diagonal metric D (a tensor of positive numbers) the operator is

    prox(v) = argmin_x  1/2 * sum_i D_i * (x_i - v_i)^2 + g(x).

D = 1 belongs to plain gradient steps. Adam moves by lr * m / (sqrt(v) + eps), a step in the metric
D = (sqrt(v) + eps) / lr; shrinking by the same amount everywhere, as if D were 1/lr, would solve another problem.
"""

from __future__ import annotations

import torch

Metric = float | torch.Tensor


def soft_threshold(values: torch.Tensor, tau: float, *, metric: Metric = 1.0) -> torch.Tensor:
    """Prox of tau * sum |x_i| in a diagonal metric: sign(v) * max(|v| - tau/D, 0).

    Args:
        values: any shape.
        tau: weight of the penalty, 0 or more.
        metric: D, a number or of the shape of `values`.

    Returns:
        Same shape; entries whose |v| <= tau/D are exactly zero.
    """
    return values.sign() * (values.abs() - tau / metric).clamp_min(0)


def group_soft_threshold(values: torch.Tensor, tau: float, *, metric: Metric = 1.0) -> torch.Tensor:
    """Prox of tau * ||x||_2, all of `values` being one group, in a diagonal metric.

    Zero if ||D v|| <= tau. Otherwise x_i = D_i v_i t / (D_i t + tau), where t = ||x|| is the one positive root of
    sum_i (D_i v_i / (D_i t + tau))^2 = 1; for D = 1 that is v * (1 - tau / ||v||).

    Args:
        values: the group, any shape.
        tau: weight of the penalty, 0 or more.
        metric: D, a number or of the shape of `values`.

    Returns:
        Same shape; all exactly zero, or none that was not.
    """
    if tau == 0:
        return values
    d = torch.as_tensor(metric, dtype=torch.float64, device=values.device).expand_as(values)
    pull = d * values.double()
    if bool(pull.norm() <= tau):
        return torch.zeros_like(values)
    norm = _root(pull, d, tau)
    return (pull * norm / (d * norm + tau)).to(values.dtype)


def _root(pull: torch.Tensor, d: torch.Tensor, tau: float) -> torch.Tensor:
    """The t with sum (pull / (d t + tau))^2 = 1, by bisection: the sum falls in t and is above 1 at t = 0."""
    low = torch.zeros((), dtype=pull.dtype, device=pull.device)
    high = (pull / d).norm()
    for _ in range(100):
        middle = (low + high) / 2
        above = (pull / (d * middle + tau)).norm() > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (low + high) / 2


def sparse_group_threshold(values: torch.Tensor, l1: float, group: float, *, metric: Metric = 1.0) -> torch.Tensor:
    """Prox of l1 * ||x||_1 + group * ||x||_2: soft thresholding first, the group's after it.

    That composition is exact in any diagonal metric: where x_i is not zero, its sign is that of v_i, so the
    optimality condition is the one of the group penalty at the soft-thresholded point.
    """
    return group_soft_threshold(soft_threshold(values, l1, metric=metric), group, metric=metric)
