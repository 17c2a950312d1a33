"""Modules whose output is a Linear layer's steer for nothing: within a call, that layer carries the map.

The output of an attention layer is mostly what its last projection makes. Which layer that is differs between classes
and processors, so it is looked at: the first time that a module runs in some *way* (its settings, processor and the
kinds of its arguments), its output is compared with that of each plain Linear in it, number by number. The answer is
remembered as long as the module lives. Whenever the module runs in that way again, the layer has the map in its weight
and bias, and the module's output is looked at again, as far as that waits for no device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import nn

from ..hooks import replaced
from ..steer import SteeredSite
from .folded import FoldedLayer, can_carry, is_bare
from .makers import Witness

CodePath = tuple[Any, ...]
_CONTAINERS = (nn.ModuleList, nn.Sequential)
_VALUES = (bool, int, float, str)
_MAKERS: WeakKeyDictionary[nn.Module, dict[tuple[int, CodePath], ref[nn.Module] | None]] = WeakKeyDictionary()
"""Module -> (entry of its output, way in which it ran) -> the layer that made that entry; None if no single one did."""


@contextmanager
def folded_output(site: SteeredSite) -> Iterator[bool]:
    """Within the context a site's activation is steered in the layer that makes it, or by a hook.

    Yields:
        Whether the site is steered; False, and nothing is done, if the map or all layers within are of another kind.
    """
    module = site.site.module
    layers = _linears(module, site) if site.alike and is_bare(module) else []
    if not layers:
        yield False
        return
    with ExitStack() as stack:
        output = _FoldedOutput(site, layers, stack)
        stack.enter_context(module.register_forward_pre_hook(output.before, with_kwargs=True))
        stack.enter_context(module.register_forward_hook(output.after, with_kwargs=True, prepend=True))
        yield True


def _linears(module: nn.Module, site: SteeredSite) -> list[nn.Module]:
    """The layers that may make a module's output: its own ones; what is within other modules is their affair."""
    layers: list[nn.Module] = []
    for child in module.children():
        if type(child) in _CONTAINERS:
            layers += _linears(child, site)
        elif isinstance(child, nn.Linear) and can_carry(child, site.features, rank=site.rank):
            layers += [child] if child.weight.dtype == torch.float32 else []
    return layers


def code_path_of(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CodePath:
    """What decides which code of a module runs, as far as that can be told ahead: settings, types, numbers of axes."""
    return (
        *(value if type(value) in _VALUES else type(value) for value in vars(module).values()),
        *map(type, module._modules.values()),
        *map(_kind, args),
        *((name, _kind(value)) for name, value in kwargs.items()),
    )


def _kind(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.ndim
    return (value,) if type(value) in _VALUES else type(value)


class _FoldedOutput:
    """One site's module, for the length of a context."""

    def __init__(self, site: SteeredSite, layers: list[nn.Module], stack: ExitStack) -> None:
        self.steered, self.site, self._layers = site, site.site, layers
        self._passing = [one for one in self.site.module.modules() if not any(True for _ in one.parameters())]
        self._makers = _MAKERS.setdefault(self.site.module, {})
        self._carriers: dict[nn.Module, _Carrier | None] = {}
        self._running: _Carrier | None = None
        self._key: tuple[int, CodePath] = (self.site.address.entry, ())
        self._witness = Witness(site.call.is_mine)
        self._watching, self._stack = stack.enter_context(ExitStack()), stack
        self._looks = False

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The module begins to run."""
        if not self.steered.call.is_mine():
            return
        self._rest()
        if not self.steered.presence.on or torch.is_grad_enabled():
            return
        self._key = (self.site.address.entry, code_path_of(module, args, kwargs))
        if self._key in self._makers:
            maker = self._makers[self._key]
            self._running = None if maker is None else self._carrier(maker())
        elif is_bare(module):
            self._looks = True
            self._watching.enter_context(self._witness.watching(self._layers))

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The module has run; gives the output with the steered activation, or None where it is that already."""
        if not self.steered.call.is_mine():
            return None
        carrier = self._running
        if self._looks:
            self._watching.close()
        z = self.site.read(output)
        moved = self._learned(z) if carrier is None else None
        if moved is not None or (carrier is not None and carrier.made(z)):
            self.steered.presence.acted = True
            self._rest()
            return None if moved is None else self.site.write(output, moved)
        ran = carrier is not None and carrier.runs > 0
        self._rest()
        if ran:  # the module has other code than before, unseen: what it makes without a map is moved
            self._makers[self._key] = None
            output = module.forward(*args, **kwargs)
            z = self.site.read(output)
        return self.site.write(output, self.steered.edit(z))

    def _rest(self) -> None:
        if self._running is not None:
            self._running.begin()
            self._running = None
        if self._looks:
            self._looks = False
            self._watching.close()
            self._witness.forget()

    def _learned(self, z: torch.Tensor) -> torch.Tensor | None:
        """Remember which layer made an activation, if that was looked at; the steered activation, if it makes that.

        So the first call gives the very picture that later ones give.
        """
        if not self._looks or not self._witness.has_seen or not bool(z.any()):
            return None
        layer = self._witness.maker(z) if self.steered.axis(z) == z.ndim - 1 else None
        self._makers[self._key] = None if layer is None else ref(layer)
        carrier = self._carrier(layer)
        if layer is None or carrier is None:
            return None
        made = carrier.run(*self._witness.inputs(layer))
        return None if made is None else made.reshape(z.shape)

    def _carrier(self, layer: nn.Module | None) -> _Carrier | None:
        """What steers within a layer; None if it cannot now: it is another's in this context, or no longer the module's
        own, or somebody's hook at it, or at a dropout behind it, sees what would be moved already."""
        if layer not in self._layers or any(one._forward_hooks for one in (layer, *self._passing)):
            return None
        if layer not in self._carriers:
            carrier = _Carrier(layer, self.steered, lambda: self._running is carrier and self.steered.call.is_mine())
            free = can_carry(layer, self.steered.features, rank=self.steered.rank)
            taken = free and self._stack.enter_context(replaced(layer, "forward", carrier, only_if_free=True))
            self._carriers[layer] = carrier if taken else None
        return self._carriers[layer]


class _Carrier:
    """A layer's forward, with a site's map in its numbers while the site's module runs.

    Attributes:
        runs: how often the layer made a moved output since the module began.
    """

    def __init__(self, layer: nn.Module, site: SteeredSite, acts: Callable[[], bool]) -> None:
        self._layer, self._site, self._acts = FoldedLayer(layer), site, acts
        self._is_sure = False
        self.begin()

    def begin(self) -> None:
        """The module begins, or has ended."""
        self.runs, self._made, self._last, self._version = 0, torch.empty(0), torch.empty(0), 0

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        made = self.run(input) if self._acts() else None
        if made is None:
            return self._layer.plain(input)
        self.runs += 1
        self._made, self._last, self._version = made, _last_of(made).clone(), _version(made)
        return made

    def run(self, input: torch.Tensor) -> torch.Tensor | None:
        """The moved output; None where a hook is more exact."""
        return self._layer(input, self._site.move) if self._layer.suits(input) else None

    def made(self, z: torch.Tensor) -> bool:
        """Whether an activation is what the layer has just made.

        Its last d numbers tell, and that the layer's output was not written over: each time on the CPU, and once in a
        context elsewhere, because comparing waits for the device.
        """
        if self.runs != 1 or z.numel() != self._made.numel() or _version(self._made) != self._version:
            return False
        if not (self._is_sure and z.device.type != "cpu"):
            self._is_sure = torch.equal(_last_of(z), self._last)
        return self._is_sure


def _last_of(z: torch.Tensor) -> torch.Tensor:
    """The features of the last token of the last row, (d,)."""
    return z[(-1,) * (z.ndim - 1)]


def _version(z: torch.Tensor) -> int:
    """How often a tensor was written over."""
    return 0 if z.is_inference() else z._version
