"""Where an activation is, and how it is read and edited: two context managers over forward hooks that always come off.

An activation is named by its module's canonical name, with ``:1`` for the second entry of a tuple output (a joint
attention layer gives an image and a text stream), ``:0`` or nothing for the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import LineaError
from .addresses import Address

Edit = Callable[[torch.Tensor], torch.Tensor]
Pool = Callable[[str, nn.Module, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Site:
    """Where a pipeline's activation is, in a model as it stands.

    Attributes:
        address: of the activation.
        module: that puts it out.
        features_at: the axis of features, if the module's class tells.
    """

    address: Address
    module: nn.Module
    features_at: int | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "features_at", _features_at(self.module))

    @classmethod
    def of(cls, name: str, module: nn.Module) -> Site:
        """The site of an activation by its name."""
        return cls(Address.of(name), module)

    @property
    def name(self) -> str:
        """Of the activation."""
        return self.address.name

    @property
    def component(self) -> str:
        """Of the pipeline."""
        return self.address.component

    def axis(self, activation: torch.Tensor) -> int:
        """The axis that holds features: 1 for images (n, d, h, w) and GroupNorm, else the last."""
        axis = self.features_at
        if axis == -1 and activation.ndim == 4 and _is_channels_first(self.module, activation):
            axis = 1
        if axis is None and activation.ndim == 4 and activation.shape[-2] == getattr(self.module, "heads", 0):
            axis = -1  # tokens, heads and the features of each
        if axis is None:
            axis = 1 if activation.ndim == 4 else -1
        return axis % activation.ndim

    def read(self, output: Any) -> torch.Tensor:
        """The activation in the module's output.

        Raises:
            LineaError: the output has no such entry, or it is no tensor.
        """
        entry = self.address.entry
        if isinstance(output, tuple):
            activation = output[entry] if entry < len(output) else None
        else:
            activation = output if entry == 0 else None
        if not isinstance(activation, torch.Tensor):
            entries = len(output) if isinstance(output, tuple) else 1
            raise LineaError(
                f"got {self.name!r}, whose entry {entry} is {type(activation).__name__} in an output of {entries}: "
                "expected a tensor there; address another entry as name:0, name:1, or leave the module out"
            )
        return activation

    def write(self, output: Any, activation: torch.Tensor) -> Any:
        """The module's output with another activation."""
        if not isinstance(output, tuple):
            return activation
        entry = self.address.entry
        return (*output[:entry], activation, *output[entry + 1 :])


def _features_at(module: nn.Module) -> int | None:
    """1 for GroupNorm, -1 for other norms and Linear.

    LayerNorm, RMSNorm and Linear work on the last axis whatever the number of axes (query and key norms see
    (n, heads, tokens, d); some transformers keep images as (n, h, w, d)).
    """
    if isinstance(module, nn.GroupNorm):
        return 1
    last = isinstance(module, nn.Linear) or any(part in type(module).__name__ for part in ("LayerNorm", "RMSNorm"))
    return -1 if last else None


def _is_channels_first(module: nn.Module, activation: torch.Tensor) -> bool:
    """Whether a norm of the last axis turns images around itself: (n, d, h, w) in and out."""
    features = getattr(module, "normalized_shape", (activation.shape[-1],))[-1]
    return activation.shape[-1] != features == activation.shape[1]


def feature_axis(module: nn.Module, activation: torch.Tensor) -> int:
    """The axis of a module's activation that holds features, see `Site.axis`."""
    return Site(Address(""), module).axis(activation)


@contextmanager
def edit_activations(modules: Mapping[str, nn.Module], edits: Mapping[str, Edit]) -> Iterator[None]:
    """Within the context, each named activation z is replaced by ``edits[name](z)``.

    The hooks are put before all others (transformers keeps permanent ones that collect hidden states), so of
    two nested contexts the inner one acts first. They come off when the context ends, however it ends.

    Args:
        modules: activation name -> module, as from `find_modules`.
        edits: activation name -> function of the activation.
    """

    def hook_of(site: Site, edit: Edit) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            return site.write(output, edit(site.read(output)))

        return hook

    with ExitStack() as stack:
        for name, edit in edits.items():
            stack.enter_context(
                modules[name].register_forward_hook(hook_of(Site.of(name, modules[name]), edit), prepend=True)
            )
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

    def hook_of(name: str, site: Site) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            activation = site.read(output)
            # Pooled also while paused: a recomputation must run the operations of the first run.
            pooled = activation if pool is None else pool(name, module, activation)
            if not recording.paused:
                recording.order.append((name, len(recording[name])))
                recording[name].append(pooled)

        return hook

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.enter_context(module.register_forward_hook(hook_of(name, Site.of(name, module))))
        yield recording
