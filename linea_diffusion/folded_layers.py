"""Layers that steer for nothing: within a call, their own weight and bias carry the map of their output.

It serves activations whose module is a plain LayerNorm, GroupNorm or Linear, and one strength for the whole batch. The
module gets another ``forward`` for the length of a context, which is its own one for every other call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from .folded import FoldedLayer, can_carry
from .hooks import replaced
from .sites import Site


@contextmanager
def folded(site: Site, is_mine: Callable[[], bool]) -> Iterator[bool]:
    """Within the context a site's module steers its own output, if it can.

    Args:
        site: any.
        is_mine: whether the call that is running is one that is steered.

    Yields:
        Whether it does; False, and nothing is done, if the module or the map are of another kind, or another thread has
        taken the module for itself.
    """
    if not (site.alike and can_carry(site.module, site.features, rank=site.rank)):
        yield False
        return
    with replaced(site.module, "forward", _FoldedForward(site, is_mine), only_if_free=True) as taken:
        yield taken


class _FoldedForward:
    """A layer's forward with the map in its numbers."""

    def __init__(self, site: Site, is_mine: Callable[[], bool]) -> None:
        self.site, self.is_mine = site, is_mine
        self.layer = FoldedLayer(site.module)

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        site, layer = self.site, self.layer
        if not self.is_mine():
            return layer.plain(input)
        if site.trail is not None or not layer.suits(input):
            return site.edit(layer.plain(input))
        site.acted = True
        return layer(input, site.move)
