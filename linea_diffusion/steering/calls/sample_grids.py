"""How many rows and columns a sample has, by itself, by what stands beside it in a call, and at coarser levels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..region import Grid

_FILLED = 32


def three(sizes: Iterable[int]) -> Grid:
    """Frames, rows and columns, of which frames may be left out."""
    sizes = [int(one) for one in sizes]
    return (1, sizes[0], sizes[1]) if len(sizes) == 2 else (sizes[0], sizes[1], sizes[2])


def coarser(grid: Grid, part: int) -> tuple[Grid, Grid]:
    """A grid whose places are `part` times as wide, rounded up as convolutions do, or down as patches do."""
    frames, height, width = grid
    return (frames, -(-height // part), -(-width // part)), (frames, height // part, width // part)


def flat(value: Any) -> Any:
    """The first of lists within lists."""
    while isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        value = value[0]
    return value


def features_in(value: Any) -> list[torch.Tensor]:
    """The texts in an argument: one tensor (n, tokens, d), or a list of (tokens, d); not ids of tokens."""
    parts = value if is_list_of_tensors(value) else [value]
    axes = 2 if is_list_of_tensors(value) else 3
    return [
        one
        for one in parts
        if isinstance(one, torch.Tensor) and one.ndim == axes and one.is_floating_point() and one.shape[-1] > 4
    ]


def filled_up(count: int) -> int:
    """A number of tokens filled up as models do that take a list of samples."""
    return -(-count // _FILLED) * _FILLED


def is_list_of_tensors(value: Any) -> bool:
    """Whether a value has one tensor for each sample."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, torch.Tensor) and one.ndim for one in value)


def counted(value: Any, count: int) -> Grid | None:
    """The grid in an argument that says where each of `count` tokens is, or how many rows and columns there are."""
    if isinstance(value, torch.Tensor):
        if value.ndim not in (2, 3) or value.shape[-2] != count or not 2 <= value.shape[-1] <= 4:
            return None
        ids = value.reshape(-1, *value.shape[-2:])[0]
        sizes = [size for column in ids.T if (size := len(column.unique())) > 1]
        full = [1] * (2 - len(sizes)) + sizes
    else:
        whole = isinstance(value, list | tuple) and all(isinstance(one, int) for one in value)
        full = list(value) if whole else []
    if len(full) not in (2, 3):
        return None
    grid = three(full)
    return grid if grid[0] * grid[1] * grid[2] == count else None
