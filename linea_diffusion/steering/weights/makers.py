"""Which layer makes an activation: the one whose output is the activation, number by number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


class Witness:
    """What some layers were given and put out while a module ran.

    Args:
        is_mine: whether the call that is running is one to be looked at.
    """

    def __init__(self, is_mine: Callable[[], bool] = lambda: True) -> None:
        self._is_mine = is_mine
        self._seen: dict[nn.Module, list[tuple[Any, torch.Tensor]]] = {}

    @contextmanager
    def watching(self, layers: Iterable[nn.Module]) -> Iterator[None]:
        """Within the context the layers are looked at."""
        with ExitStack() as stack:
            for layer in layers:
                stack.enter_context(layer.register_forward_hook(self._see))
            yield

    def _see(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and self._is_mine():
            # what is changed in place afterwards is not the activation
            self._seen.setdefault(layer, []).append((inputs, output.clone()))

    def forget(self) -> None:
        """Another run begins."""
        self._seen.clear()

    @property
    def has_seen(self) -> bool:
        """Whether some layer has run."""
        return bool(self._seen)

    def maker(self, activation: torch.Tensor) -> nn.Module | None:
        """The one layer that ran once and whose output is the activation, perhaps in another shape."""
        same = [
            layer
            for layer, runs in self._seen.items()
            if len(runs) == 1 and _is_same(runs[0][1], activation) and bool(activation.any())
        ]
        return same[0] if len(same) == 1 else None

    def inputs(self, layer: nn.Module) -> Any:
        """The positional arguments of a layer's only run."""
        return self._seen[layer][0][0]


def _is_same(made: torch.Tensor, activation: torch.Tensor) -> bool:
    alike = made.shape[-1:] == activation.shape[-1:] and made.numel() == activation.numel()
    return alike and torch.equal(made.reshape(activation.shape), activation)
