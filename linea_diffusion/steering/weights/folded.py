"""A layer with a move in its own weight and bias: the moved output for the price of the layer.

A layer that ends with weight * z + bias makes a moved output with another weight and another bias, `Move.layer_change`.
Nothing of the model is changed: the new numbers are kept here. That is exact to rounding in float32; in half precision
the weights would round small moves away, so that there, and where gradients are wanted, a hook moves the output.

Within a call this serves activations whose module is a plain LayerNorm, GroupNorm or Linear, and one strength for the
whole batch. The module gets another ``forward`` for the length of a context, which is its own one for every other call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import group_norm, layer_norm, linear

from ..affine.move import Move, is_autocast
from ..hooks import replaced
from ..steer import SteeredSite

_RUN: dict[type[nn.Module], Callable[..., torch.Tensor]] = {
    nn.LayerNorm: lambda norm, z, weight, bias: layer_norm(z, norm.normalized_shape, weight, bias, norm.eps),
    nn.GroupNorm: lambda norm, z, weight, bias: group_norm(z, norm.num_groups, weight, bias, norm.eps),
    nn.Linear: lambda layer, z, weight, bias: linear(z, weight, bias),
}
_PATCHES = ("forward", "_compiled_call_impl", "_hf_hook", "_diffusers_hook")
FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer's parameters are its own plain numbers: not quantised, not cast or loaded layer by layer."""
    return not any(vars(layer).get(name) for name in ("_hf_hook", "_diffusers_hook")) and all(
        type(p) is nn.Parameter and type(p.data) is torch.Tensor and p.dtype in FLOAT_DTYPES and p.device.type != "meta"
        for p in layer.parameters(recurse=False)
    )


def is_offloaded(model: nn.Module) -> bool:
    """Whether a model's weights are elsewhere and fetched in pieces: new ones would not be."""
    registries = [vars(module).get("_diffusers_hook") for module in model.modules()]
    in_groups = any("group_offloading" in registry.hooks for registry in registries if registry is not None)
    return in_groups or any(parameter.device.type == "meta" for parameter in model.parameters())


def is_bare(module: nn.Module) -> bool:
    """Whether a module runs its class's code, and nothing that somebody put in its place."""
    return not any(vars(module).get(name) for name in _PATCHES)


def can_carry(layer: nn.Module, features: int, *, rank: int) -> bool:
    """Whether a layer can carry moves of its output in its numbers.

    Args:
        layer: any module; plain ones of `torch.nn` in float32 can.
        features: d of the moves.
        rank: of the moves; a normalisation has numbers for coordinate-wise ones only.
    """
    kind = type(layer)
    if kind not in _RUN or (rank and kind is not nn.Linear) or not (is_bare(layer) and is_plain(layer)):
        return False
    return _features(layer) == features


def _features(layer: Any) -> int:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.normalized_shape[-1]


class FoldedLayer:
    """What a layer makes with a move in its numbers, which are worked out again whenever one of them is another.

    Args:
        layer: for which `can_carry`.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer: Any = layer
        self.plain = layer.forward
        self._run = _RUN[type(layer)]
        self._parts: tuple[Any, ...] = (None, None, None)
        self._versions: tuple[int, ...] = ()
        self._weight = self._bias = torch.empty(0)

    def suits(self, z: torch.Tensor) -> bool:
        """Whether the output for an input is the moved one to rounding: float32 throughout, and no gradients."""
        weight = self.layer.weight
        exact = z.dtype == torch.float32 and (weight is None or weight.dtype == torch.float32)
        return exact and not torch.is_grad_enabled() and not is_autocast(z.device)

    def __call__(self, z: torch.Tensor, move: Move) -> torch.Tensor:
        """The moved output.

        Args:
            z: an input that `suits`.
            move: of one row.
        """
        weight, bias = self.layer.weight, self.layer.bias
        parts, versions = (move, weight, bias), (_version(weight), _version(bias))
        same = all(a is b for a, b in zip(self._parts, parts, strict=True)) and versions == self._versions
        if not same or self._weight.device != z.device:  # an offloaded weight moves and stays the same object
            self._fold(move.to(z.device))
            self._parts, self._versions = parts, versions
        return self._run(self.layer, z, self._weight, self._bias)

    def _fold(self, move: Move) -> None:
        layer, weight, bias = self.layer, self.layer.weight, self.layer.bias
        rows = isinstance(layer, nn.Linear)
        change = move.layer_change(weight, bias, axis=0 if rows else -1)
        self._weight = (1 if weight is None else weight) + change[0]
        self._bias = (0 if bias is None else bias) + change[1]
        if isinstance(layer, nn.LayerNorm):  # over several axes it repeats the map, as the hook's broadcast does
            self._weight, self._bias = (part.expand(layer.normalized_shape) for part in (self._weight, self._bias))


def _version(parameter: torch.Tensor | None) -> int:
    """How often a parameter's numbers were written over."""
    return 0 if parameter is None or parameter.is_inference() else parameter._version


@contextmanager
def folded(site: SteeredSite) -> Iterator[bool]:
    """Within the context a site's module steers its own output, if it can.

    Yields:
        Whether it does; False, and nothing is done, if the module or the map are of another kind, or another thread has
        taken the module for itself.
    """
    module = site.site.module
    if not (site.alike and can_carry(module, site.features, rank=site.rank)):
        yield False
        return
    with replaced(module, "forward", _FoldedForward(site), only_if_free=True) as taken:
        yield taken


class _FoldedForward:
    """A layer's forward with the map in its numbers."""

    def __init__(self, site: SteeredSite) -> None:
        self.site = site
        self.layer = FoldedLayer(site.site.module)

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        site, layer = self.site, self.layer
        if not site.call.is_mine():
            return layer.plain(input)
        if not layer.suits(input):
            return site.edit(layer.plain(input))
        site.presence.acted = True
        return layer(input, site.move)
