"""Where activations have the places of the picture, read off what a denoiser is given while it runs.

Images (n, d, h, w) say it themselves. Tokens (n, tokens, d) are the places of the sample, or of a grid that is coarser
by a power of 2; or the prompt's; or both in one sequence. Where the picture begins in that, is seen where a module is
given the sequence after another had the picture's tokens by themselves: the same numbers stand in both.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from ...errors import LineaError
from ..activations import Site
from ..region import Grid, Places
from .sample_grids import coarser, counted, features_in, filled_up, flat, three

_COARSER = (1, 2, 4, 8, 16, 32, 64)
_UNKNOWN = (1, 1, 0)
_ELSEWHERE = re.compile(r"context|encoder|(^|[._])(txt|text|cap|caption|clip)([._]|$)|added|add_|guidance|_norm_y")
"""Modules of denoisers whose tokens are the prompt's, or no tokens, unless their number says otherwise."""


def no_places() -> LineaError:
    """The error for a mask and maps of activations which have no places in the picture."""
    return LineaError(
        "got a mask, and maps of activations that have no places in the picture: expected maps of attention, norms or "
        "other layers which the picture's tokens run through, or masking='pictures'"
    )


class Layout:
    """What is known of the layout of a running denoiser's activations.

    Args:
        size: height and width of the call in pixels, where it names them.

    Attributes:
        is_met: whether some activation had the picture's places.
    """

    def __init__(self, size: tuple[int, int] | None = None) -> None:
        self._size = size
        self._grids: tuple[Grid, ...] = ()
        self._batch, self._patch, self._texts = 0, 1, set[int]()
        self._recent: dict[int, deque[torch.Tensor]] = {}
        self._joint: dict[int, Places] = {}
        self._found: dict[int, Grid | None] = {}
        self._widest = 0
        self.is_met = False

    def meet_model(self, arguments: Sequence[Any], patch: int | None = None) -> None:
        """A denoiser runs; its sample is the first argument.

        Args:
            arguments: of the model.
            patch: width of a place in numbers of the sample, where its configuration says it.
        """
        given = next((value for value in arguments if isinstance(value, torch.Tensor | list)), None)
        arguments = [flat(value) for value in arguments]
        sample = flat(given)
        self._joint, self._recent, self._widest = {}, {}, 0
        packed = isinstance(sample, torch.Tensor) and sample.ndim == 3
        patch = 1 if packed or patch is None else patch
        grids = () if sample is None else self._grids_of(sample, arguments)
        if (grids, patch) != (self._grids, self._patch):
            self._grids, self._patch, self._found = grids, patch, {}
        self._batch = 0 if given is None else len(given)
        rest = [value for value in arguments if value is not sample]
        counts = [int(one.shape[-2]) for value in rest for one in features_in(value)]
        self._texts = {*counts, sum(counts), *(filled_up(one) for one in counts if isinstance(sample, list))}
        if packed:
            self._widest = sample.shape[1]

    def places(self, site: Site, z: torch.Tensor, axis: int) -> Places | None:
        """Where an activation has the picture's places; None if they are nowhere in it.

        Args:
            site: of the activation.
            z: the activation.
            axis: of its features.

        Raises:
            LineaError: that cannot be told.
        """
        rest = [at for at in range(1, z.ndim) if at != axis]
        if not self._grids or (z.ndim == 2 and len(z) == self._batch):
            return None
        sizes = [int(z.shape[at]) for at in rest]
        if len(rest) in (2, 3) and (axis == 1 or self._grid(prod(sizes)) == three(sizes)):
            self.is_met = True
            return Places(three(sizes), tuple(rest))
        for at in sorted(rest, key=lambda at: -z.shape[at]):  # the other one is heads
            known, places = self._sequence(site, z.shape[at], at)
            self.is_met |= places is not None
            if known and _UNKNOWN not in self._grids:
                return places
        if _ELSEWHERE.search(site.address.path):
            return None
        raise LineaError(
            f"got a mask and {site.name!r}, whose activation {tuple(z.shape)} does not say where it has the picture's "
            f"places ({self._named()}): expected maps without it (maps.subset), or no mask"
        )

    def _sequence(self, site: Site, count: int, axis: int) -> tuple[bool, Places | None]:
        """Whether it is known what a sequence of tokens holds, and where in it the picture is."""
        grid = self._grid(count)
        if count in self._joint:
            places = self._joint[count]
            return True, Places(places.grid, (axis,), count, places.starts)
        if count in self._texts and (grid is None or site.address.entry or _ELSEWHERE.search(site.address.path)):
            return True, None
        if grid is not None:
            return True, Places(grid, (axis,), count)
        return count == 1 or count < self._widest, None

    def _grid(self, count: int) -> Grid | None:
        """The grid of the sample, or a coarser one, that has as many places, or has them after it is filled up."""
        if count not in self._found:
            parts = [part * self._patch for part in _COARSER]
            sizes = [size for grid in self._grids for part in parts for size in coarser(grid, part)]
            exact = (size for size in sizes if prod(size) == count)
            filled = (size for size in sizes[:2] if self._patch > 1 and filled_up(prod(size)) == count)
            self._found[count] = next(iter((*exact, *filled)), None)
        return self._found[count]

    def meet(self, value: Any, name: str = "", path: str = "") -> None:
        """A tensor that a module is given, or gives: tokens of the picture alone, or a sequence which they are in.

        Args:
            value: the tensor; other things are passed over.
            name: of the argument.
            path: of the module, should only that tell the picture's tokens from as many of the prompt.
        """
        if not isinstance(value, torch.Tensor) or value.ndim != 3 or not value.is_floating_point():
            return
        count, features = value.shape[1:]
        if self._grid(count) is not None:
            named = name == "hidden_states" or (path and not _ELSEWHERE.search(path))
            if named or count not in self._texts:
                self._recent.setdefault(features, deque(maxlen=4)).append(value)
                self._widest = max(self._widest, count)
        elif count not in self._joint:
            for tokens in reversed(self._recent.get(features, ())):
                starts = _starts(tokens, value)
                grid = self._grid(tokens.shape[1])
                if starts is not None and grid is not None:
                    self._joint[count] = Places(grid, (1,), count, starts)
                    return

    def _grids_of(self, sample: Any, arguments: Sequence[Any]) -> tuple[Grid, ...]:
        """The grid of a sample: an image or video, or a list of them, or one that was packed into tokens."""
        shape = (1, *sample[0].shape) if isinstance(sample, list) else sample.shape
        if len(shape) in (4, 5):
            last = [(int(shape[1]), int(shape[2]), int(shape[3]))] if len(shape) == 5 else []
            return (three(shape[2:]), *last)  # some videos have their channels last
        return (self._packed(int(shape[1]), arguments),) if len(shape) == 3 else ()

    def _packed(self, count: int, arguments: Sequence[Any]) -> Grid:
        for value in arguments:
            grid = counted(value, count)
            if grid is not None:
                return grid
        height, width = self._size or (1, 1)
        rows = round((count * height / width) ** 0.5)
        return (1, rows, count // rows) if rows and count % rows == 0 else _UNKNOWN

    def _named(self) -> str:
        grid = " x ".join(str(one) for one in self._grids[0][1:])
        return f"the sample is {grid}, texts have {sorted(self._texts) or 'no'} tokens"


def _starts(tokens: torch.Tensor, sequence: torch.Tensor) -> tuple[int, ...] | None:
    """Where in each row of a sequence the tokens are, bit for bit; one number where it is the same; None if nowhere."""
    count = tokens.shape[1]
    if len(tokens) != len(sequence) or count >= sequence.shape[1] or tokens.dtype != sequence.dtype:
        return None
    for start in (0, sequence.shape[1] - count):
        if torch.equal(sequence[:, start : start + count], tokens):
            return (start,)
    found = []
    for row, part in zip(sequence, tokens, strict=True):
        candidates = (row == part[0]).all(-1).nonzero().flatten().tolist()
        at = next((one for one in candidates if torch.equal(row[one : one + count], part)), None)
        if at is None:
            return None
        found.append(at)
    return tuple(found)
