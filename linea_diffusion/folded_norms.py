"""Norms that steer for nothing: within a call, their own weight and bias carry the map.

A normalisation ends with weight * z + bias, so that a map of its output, factor * z + shift, is a normalisation with
the weight factor * weight and the bias factor * bias + shift. Nothing of the model is changed: the module gets another
``forward`` for the length of a context, which is the module's own one for every other call. It serves one strength
for the whole batch, in float32, where both ways agree to rounding; everything else stays with hooks, as do maps with a
low-rank part, which mix features as no norm does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import group_norm, layer_norm

from .hooks import replaced
from .sites import Site

_NORMS: dict[type[nn.Module], Callable[..., torch.Tensor]] = {
    nn.LayerNorm: lambda norm, z, weight, bias: layer_norm(z, norm.normalized_shape, weight, bias, norm.eps),
    nn.GroupNorm: lambda norm, z, weight, bias: group_norm(z, norm.num_groups, weight, bias, norm.eps),
}


def is_foldable(site: Site) -> bool:
    """Whether a site's map can be the norm's own numbers, in every part of the schedule.

    That takes a plain norm, coordinate-wise maps, and the same strength for all rows.
    """
    norm: Any = site.module
    managed = any(name in vars(norm) for name in ("forward", "_hf_hook", "_diffusers_hook"))
    alike = not site.rows.only_conditional and all(strengths.numel() == 1 for _, strengths in site.parts)
    mixes = any(affine.rank for affine, _ in site.parts)
    return type(norm) in _NORMS and not (managed or mixes) and alike and _features(norm) == site.features


def _features(norm: Any) -> int:
    return norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.normalized_shape[-1]


@contextmanager
def folded(site: Site, is_mine: Callable[[], bool]) -> Iterator[bool]:
    """Within the context a site's norm steers its own output.

    Args:
        site: for which `is_foldable`.
        is_mine: whether the call that is running is one that is steered.

    Yields:
        Whether it does; False if another thread has just taken the norm for itself, and nothing is done.
    """
    with replaced(site.module, "forward", _FoldedForward(site, is_mine), only_if_free=True) as taken:
        yield taken


class _FoldedForward:
    """A norm's forward with the map in its numbers, which are worked out again whenever one of them is another."""

    def __init__(self, site: Site, is_mine: Callable[[], bool]) -> None:
        self.site, self.is_mine = site, is_mine
        self.norm: Any = site.module
        self._plain, self._apply = site.module.forward, _NORMS[type(site.module)]
        self._parts: tuple[Any, ...] = ()
        self._weight = self._bias = torch.empty(0)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        if not self.is_mine():
            return self._plain(z)
        if self.site.trail is not None or not self._is_float32(z):
            return self.site.edit(self._plain(z))
        self.site.acted = True
        parts = (self.site.move, self.norm.weight, self.norm.bias)
        same = bool(self._parts) and all(a is b for a, b in zip(self._parts, parts, strict=True))
        if not same or self._weight.device != z.device:  # an offloaded weight moves and stays the same object
            self._fold(z.device)
            self._parts = parts
        return self._apply(self.norm, z, self._weight, self._bias)

    def _is_float32(self, z: torch.Tensor) -> bool:
        weight = self.norm.weight
        return z.dtype == torch.float32 and (weight is None or weight.dtype == torch.float32)

    def _fold(self, device: torch.device) -> None:
        weight, bias = self.norm.weight, self.norm.bias
        # a norm over several axes repeats the map along the others, as the hook's broadcast does
        change = self.site.move.to(device).layer_change(weight, bias, axis=-1)
        shape = self.norm.normalized_shape if isinstance(self.norm, nn.LayerNorm) else change[0].shape
        self._weight = ((1 if weight is None else weight) + change[0]).expand(shape)
        self._bias = ((0 if bias is None else bias) + change[1]).expand(shape)
