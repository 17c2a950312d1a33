"""Few numbers: the proximal operators of the sparsity penalties, and pruning by what a number is worth.

For a penalty g and a diagonal metric D (a tensor of positive numbers) the operator is

    prox(v) = argmin_x  1/2 * sum_i D_i * (x_i - v_i)^2 + g(x).

D = 1 belongs to plain gradient steps. Adam moves by lr * m / (sqrt(v) + eps), a step in the metric
D = (sqrt(v) + eps) / lr; shrinking by the same amount everywhere, as if D were 1/lr, would solve another problem.

Pruning keeps the effect: numbers are taken out one by one while the others are fitted on. Shrinking everything (L1)
moves a map towards zero long before its numbers are zero, so the effect goes with the support. Here nothing is shrunk.
A number's *saliency* is its size times the root mean square of its gradients, which says how much the loss changes
without it (Fisher pruning, arXiv 1801.05787): a mean with signs would fade as training converges, and one batch of few
rows says little. The least salient numbers are set to zero for good, few at a time along a cubic curve (Zhu and Gupta,
arXiv 1710.01878), once U and V have found their directions, and the last part of training fits what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils import parameters_to_vector

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


_BEGIN, _END, _MEMORY = 0.35, 0.8, 0.9


class Pruning:
    """Takes numbers out of parameters during training until a target share is exactly zero.

    Args:
        parameters: those that may be pruned, all together.
        sparsity: share of zeros to reach, [0, 1).
        iterations: length of the training; pruning runs from 35% to 80% of it.

    Attributes:
        mask: (numbers,), True where a number is kept.
        squares: (numbers,), running mean of the squared gradient.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], *, sparsity: float, iterations: int) -> None:
        self.parameters, self.sparsity, self.iterations = list(parameters), sparsity, iterations
        count = sum(parameter.numel() for parameter in self.parameters)
        device = self.parameters[0].device
        self.mask = torch.ones(count, dtype=torch.bool, device=device)
        self.squares = torch.zeros(count, device=device)

    def observe(self) -> None:
        """Take note of gradients, before the optimiser's step; those of pruned numbers become zero."""
        if self.sparsity:
            grads = parameters_to_vector(_grad(parameter) for parameter in self.parameters)
            self.squares.lerp_(grads.square(), 1 - _MEMORY)
            for parameter, kept in zip(self.parameters, self._masks(), strict=True):
                if parameter.grad is not None:
                    parameter.grad.mul_(kept)

    @torch.no_grad()
    def prune(self, iteration: int) -> None:
        """Set the least salient numbers to zero, as many as are due after an iteration, and keep pruned ones there."""
        if not self.sparsity:
            return
        wanted = self.kept_after(iteration)
        if wanted < int(self.mask.sum()):
            saliency = (self.squares.sqrt() * parameters_to_vector(self.parameters)).abs().masked_fill(~self.mask, -1)
            self.mask = torch.zeros_like(self.mask)
            self.mask[saliency.topk(wanted).indices] = True
        for parameter, kept in zip(self.parameters, self._masks(), strict=True):
            parameter.mul_(kept)

    def kept_after(self, iteration: int) -> int:
        """How many numbers are left after an iteration, at least one."""
        done = ((iteration + 1) / self.iterations - _BEGIN) / (_END - _BEGIN)
        left = 1 - min(max(done, 0.0), 1.0)
        return max(1, round(len(self.mask) * (1 - self.sparsity * (1 - left**3))))

    def _masks(self) -> list[torch.Tensor]:
        parts = self.mask.split([parameter.numel() for parameter in self.parameters])
        return [part.view_as(parameter) for part, parameter in zip(parts, self.parameters, strict=True)]


def _grad(parameter: torch.nn.Parameter) -> torch.Tensor:
    return parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
