"""Read and edit activations: two context managers over forward hooks that always come off.

An activation is named by its module's canonical name, with ``:1`` for the second entry of a tuple output (a joint
attention layer gives an image and a text stream), ``:0`` or nothing for the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ..errors import LineaError

Edit = Callable[[torch.Tensor], torch.Tensor]
Pool = Callable[[str, nn.Module, torch.Tensor], torch.Tensor]


def split_address(name: str) -> tuple[str, int]:
    """Module name and output entry of an activation's name: ``a.b:1`` -> (``a.b``, 1), ``a.b`` -> (``a.b``, 0)."""
    match = re.fullmatch(r"(.*):(\d+)", name)
    return (match[1], int(match[2])) if match else (name, 0)


def join_address(module_name: str, index: int) -> str:
    """The inverse of `split_address`; entry 0 needs no ending."""
    return f"{module_name}:{index}" if index else module_name


def features_at(module: nn.Module) -> int | None:
    """The axis of features in a module's activations, if its class tells: 1 for GroupNorm, -1 for other norms, Linear.

    LayerNorm, RMSNorm and Linear work on the last axis whatever the number of axes (query and key norms see
    (n, heads, tokens, d); some transformers keep images as (n, h, w, d)).
    """
    if isinstance(module, nn.GroupNorm):
        return 1
    last = isinstance(module, nn.Linear) or any(part in type(module).__name__ for part in ("LayerNorm", "RMSNorm"))
    return -1 if last else None


def feature_axis(module: nn.Module, activation: torch.Tensor) -> int:
    """The axis of an activation that holds features: 1 for images (n, d, h, w) and GroupNorm, else the last."""
    return axis_of(features_at(module), activation)


def axis_of(known: int | None, activation: torch.Tensor) -> int:
    """As `feature_axis`, from what `features_at` says of the module."""
    if known is None:
        known = 1 if activation.ndim == 4 else -1
    return known % activation.ndim


def entry_of(name: str, output: Any) -> torch.Tensor:
    """The activation that a name addresses in a module's output."""
    return _entry(split_address(name)[1], name, output)


def _entry(index: int, name: str, output: Any) -> torch.Tensor:
    """Entry number `index` of a module's output.

    Raises:
        LineaError: the output has no such entry, or it is no tensor.
    """
    if isinstance(output, tuple):
        activation = output[index] if index < len(output) else None
    else:
        activation = output if index == 0 else None
    if not isinstance(activation, torch.Tensor):
        entries = len(output) if isinstance(output, tuple) else 1
        raise LineaError(
            f"got {name!r}, whose entry {index} is {type(activation).__name__} in an output of {entries}: expected a "
            "tensor there; address another entry as name:0, name:1, or leave the module out"
        )
    return activation


def with_entry(name: str, output: Any, activation: torch.Tensor) -> Any:
    """A module's output with another activation in the entry that a name addresses."""
    return _with_entry(split_address(name)[1], output, activation)


def _with_entry(index: int, output: Any, activation: torch.Tensor) -> Any:
    if not isinstance(output, tuple):
        return activation
    return (*output[:index], activation, *output[index + 1 :])


@contextmanager
def edit_activations(modules: Mapping[str, nn.Module], edits: Mapping[str, Edit]) -> Iterator[None]:
    """Within the context, each named activation z is replaced by ``edits[name](z)``.

    The hooks are put before all others (transformers keeps permanent ones that collect hidden states), so of
    two nested contexts the inner one acts first. They come off when the context ends, however it ends.

    Args:
        modules: activation name -> module, as from `find_modules`.
        edits: activation name -> function of the activation.
    """

    def hook_of(name: str, edit: Edit) -> Callable[..., Any]:
        index = split_address(name)[1]

        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            return _with_entry(index, output, edit(_entry(index, name, output)))

        return hook

    with ExitStack() as stack:
        for name, edit in edits.items():
            stack.enter_context(modules[name].register_forward_hook(hook_of(name, edit), prepend=True))
        yield


class Recording(dict[str, list[torch.Tensor]]):
    """Activation name -> what was recorded, one entry per call of its module.

    Attributes:
        order: (name, number of its call), in the order in which the modules ran.
        paused: while set, calls are not recorded (gradient checkpointing runs modules a second time).
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__({name: [] for name in names})
        self.order: list[tuple[str, int]] = []
        self.paused = False


@contextmanager
def record_activations(modules: Mapping[str, nn.Module], *, pool: Pool | None = None) -> Iterator[Recording]:
    """Within the context, the named activations are collected, one list entry per call.

    Recording happens after editing, so edited activations are what is read. Gradients stay attached.

    Args:
        modules: activation name -> module, as from `find_modules`.
        pool: ``(name, module, activation) -> tensor`` applied at once, to keep memory small.

    Yields:
        Name -> list of activations, filled while the pipeline runs.
    """
    recording = Recording(modules)

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            activation = entry_of(name, output)
            # Pooled also while paused: a recomputation must run the operations of the first run.
            pooled = activation if pool is None else pool(name, module, activation)
            if not recording.paused:
                recording.order.append((name, len(recording[name])))
                recording[name].append(pooled)

        return hook

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.enter_context(module.register_forward_hook(hook_of(name)))
        yield recording
