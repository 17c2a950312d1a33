"""Layers that carry the maps of a call: the sites of a pipeline that need no hook."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ..steer import SteeredSite
from .folded import folded, is_offloaded
from .folded_outputs import folded_output


@contextmanager
def carried(pipe: Any, sites: Sequence[SteeredSite]) -> Iterator[Collection[SteeredSite]]:
    """Within the context plain norms and linear layers carry maps in their own numbers, where that is exact and free.

    Layers know no places: what is steered in a part of the picture keeps its hook.

    Models whose weights are fetched in pieces keep theirs: another weight would stay where those must leave.

    Args:
        pipe: a diffusers pipeline.
        sites: that are steered in it.

    Yields:
        The sites that need no hook.
    """
    components = dict.fromkeys(site.site.component for site in sites)
    resident = {component for component in components if not is_offloaded(pipe.components[component])}
    with ExitStack() as stack:
        yield {
            site
            for site in sites
            if site.region is None
            and site.site.component in resident
            and any(stack.enter_context(way(site)) for way in (folded, folded_output))
        }
