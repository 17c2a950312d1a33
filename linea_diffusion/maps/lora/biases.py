"""Biases that a program drops, carried nearly: one more rank that finds the 1 in a layer's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...steering.addresses import steerable_modules
from .changes import LayerChange

_RIDGE = 1e-4
_STEPS = 4


def with_carried_biases(
    pipe: Any, changes: Sequence[LayerChange], lost: Mapping[str, str], run: Callable[[int], object]
) -> list[LayerChange]:
    """Changes whose bias b is ``b a^T``, a rank more, with a^T x as near to 1 as one vector can bring it.

    Args:
        pipe: a diffusers pipeline.
        changes: of its layers.
        lost: layer -> what of it is lost otherwise; biases are carried.
        run: calls the pipeline with so many steps.
    """
    modules = dict(steerable_modules(pipe))
    squares: dict[str, torch.Tensor] = {}
    sums: dict[str, torch.Tensor] = {}

    def listen(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any) -> None:
            x = inputs[0].detach().flatten(0, -2).double()
            squares[name] = squares.get(name, 0) + x.mT @ x
            sums[name] = sums.get(name, 0) + x.sum(0)

        return hook

    with ExitStack() as stack:
        for name in (one for one, what in lost.items() if what == "bias"):
            stack.callback(modules[name].register_forward_pre_hook(listen(name)).remove)
        run(_STEPS)
    return [
        _carried(change, squares[change.layer], sums[change.layer]) if change.layer in squares else change
        for change in changes
    ]


def _carried(change: LayerChange, squares: torch.Tensor, total: torch.Tensor) -> LayerChange:
    if change.lora_b is None or change.lora_a is None or change.bias is None:
        return change
    ridge = _RIDGE * squares.diagonal().mean() * torch.eye(len(squares), dtype=squares.dtype, device=squares.device)
    finder = torch.linalg.solve(squares + ridge, total).float().cpu()
    up = torch.cat([change.lora_b, change.bias[:, None]], 1)
    return replace(change, lora_b=up, lora_a=torch.cat([change.lora_a, finder[None]]), bias=None)
