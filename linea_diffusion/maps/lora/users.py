"""Which linear layer takes an activation, as some of its columns, where no layer of its own makes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ...steering.activations import Site
from ...steering.addresses import steerable_modules

User = tuple[nn.Linear, slice]
"""A layer, and the columns that take the activation."""


@contextmanager
def users_of(pipe: Any, sites: Sequence[Site]) -> Iterator[Mapping[str, User | None]]:
    """Within the context calls fill what it yields: activation name -> the layer that takes it; None for several.

    Layers beside the site's module are looked at, as in FLUX's single blocks, whose attention has no output layer.
    """
    modules, users = dict(steerable_modules(pipe)), dict[str, User | None]()
    with ExitStack() as stack:
        for site in sites:
            parent = modules.get(site.address.module_name.rpartition(".")[0])
            if parent is not None and not isinstance(site.module, nn.Linear):
                for hook in _Watch(site, users).hooks(_linears(parent, outside=site.module)):
                    stack.callback(hook.remove)
        yield users


def _linears(parent: nn.Module, *, outside: nn.Module) -> list[nn.Linear]:
    within = set(outside.modules())
    return [one for one in parent.modules() if isinstance(one, nn.Linear) and one not in within]


class _Watch:
    """Looks for the layer that takes one site's activation."""

    def __init__(self, site: Site, users: dict[str, User | None]) -> None:
        self.site, self.users = site, users
        self.activation: torch.Tensor | None = None

    def hooks(self, layers: Iterable[nn.Linear]) -> Iterator[Any]:
        yield self.site.module.register_forward_hook(self._made)
        for layer in layers:
            yield layer.register_forward_pre_hook(self._taken)

    def _made(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.activation = self.site.read(output).detach().clone()

    def _taken(self, layer: nn.Module, inputs: Any) -> None:
        z, x = self.activation, inputs[0] if inputs else None
        if z is None or not isinstance(x, torch.Tensor) or x.shape[:-1] != z.shape[:-1]:
            return
        assert isinstance(layer, nn.Linear)
        width = z.shape[-1]
        places = [at for at in {0, x.shape[-1] - width} if at >= 0 and torch.equal(x[..., at : at + width], z)]
        if places:
            found = (layer, slice(min(places), min(places) + width))
            known = self.users.setdefault(self.site.name, found)
            self.users[self.site.name] = found if known == found else None
