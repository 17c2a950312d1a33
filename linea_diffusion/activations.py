"""Read and edit activations: two context managers over forward hooks that always come off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

Edit = Callable[[torch.Tensor], torch.Tensor]


def feature_axis(module: nn.Module, activation: torch.Tensor) -> int:
    """The axis of an activation that holds features: 1 for images (n, d, h, w) and GroupNorm, else the last.

    LayerNorm and RMSNorm work on the last axis whatever the number of axes (query and key norms see
    (n, heads, tokens, d)).
    """
    if isinstance(module, nn.GroupNorm):
        return 1
    if activation.ndim == 4 and "LayerNorm" not in type(module).__name__ and "RMSNorm" not in type(module).__name__:
        return 1
    return activation.ndim - 1


def _activation(output: Any) -> torch.Tensor:
    """The activation in a module's output: the output itself, or the first entry of a tuple."""
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def edit_activations(modules: Mapping[str, nn.Module], edits: Mapping[str, Edit]) -> Iterator[None]:
    """Within the context, each named module's activation z is replaced by ``edits[name](z)``.

    The hooks are put before all others (transformers keeps permanent ones that collect hidden states), so of
    two nested contexts the inner one acts first. They come off when the context ends, however it ends.
    """

    def hook_of(edit: Edit) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            edited = edit(_activation(output))
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        return hook

    with ExitStack() as stack:
        for name, edit in edits.items():
            stack.enter_context(modules[name].register_forward_hook(hook_of(edit), prepend=True))
        yield


@contextmanager
def record_activations(
    modules: Mapping[str, nn.Module], *, pool: Callable[[nn.Module, torch.Tensor], torch.Tensor] | None = None
) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Within the context, the activations of the named modules are collected, one list entry per call.

    Recording happens after editing, so edited activations are what is read. Gradients stay attached.

    Args:
        modules: canonical name -> module, as from `find_modules`.
        pool: ``(module, activation) -> tensor`` applied at once, to keep memory small.

    Yields:
        Name -> list of activations, filled while the pipeline runs.
    """
    recorded: dict[str, list[torch.Tensor]] = {name: [] for name in modules}

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            activation = _activation(output)
            recorded[name].append(activation if pool is None else pool(module, activation))

        return hook

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.enter_context(module.register_forward_hook(hook_of(name)))
        yield recorded


def mean_pool(module: nn.Module, activation: torch.Tensor) -> torch.Tensor:
    """Average over tokens or pixels: (n, tokens, d) or (n, d, h, w) -> (n, d), in float32."""
    moved = activation.movedim(feature_axis(module, activation), -1).float()
    return moved.flatten(1, -2).mean(dim=1) if moved.ndim > 2 else moved
