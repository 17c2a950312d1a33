"""Sparse maps that keep the effect: numbers are taken out one by one while the others are fitted on.

Shrinking everything (L1) moves a map towards zero long before its numbers are zero, so the effect goes with the
support. Here nothing is shrunk. A number's *saliency* is its size times the root mean square of its gradients, which
says how much the loss changes without it (Fisher pruning, arXiv 1801.05787): a mean with signs would fade as training
converges, and one batch of few rows says little. The least salient numbers are set to zero for good, few at a time
along a cubic curve (Zhu and Gupta, arXiv 1710.01878), once U and V have found their directions, and the last part of
training fits what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

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
            grads = torch.cat([_grad(parameter).flatten() for parameter in self.parameters])
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
            saliency = (self.squares.sqrt() * _flat(self.parameters)).abs().masked_fill(~self.mask, -1)
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


def _flat(parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in parameters])
