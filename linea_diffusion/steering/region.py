"""A part of the picture that steering is limited to: masks as people have them, at the size of every activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import LineaError, short

Grid = tuple[int, int, int]
"""Frames, rows and columns of places."""


@dataclass(frozen=True)
class Places:
    """Where an activation has the picture's places.

    Attributes:
        grid: of them, in order.
        axes: of the activation that hold rows and columns, and frames before them; or the one that holds tokens.
        tokens: how many there are on that axis.
        starts: at which token the picture begins: one for all rows of the batch, or one for each.
    """

    grid: Grid
    axes: tuple[int, ...]
    tokens: int = 0
    starts: tuple[int, ...] = (0,)


class Region:
    """Masks of pictures: where steering acts.

    Args:
        mask: where steering acts (1, or white), where not (0, or black), and how much in between: a PIL image, an array
            or a tensor (h, w), (n, h, w) or (n, 1, h, w), nested lists of numbers, or a list with one of these for each
            picture. Sizes need not be the picture's: masks are resized, by the mean of what a place covers.
        text: whether steering is also kept off what has no place in the picture.

    Attributes:
        masks: (1, 1, h, w) each, float32.

    Raises:
        LineaError: none of these, or numbers that are not from 0 to 1 (to 255 in arrays of bytes).
    """

    def __init__(self, mask: Any, *, text: bool = True) -> None:
        self.masks, self.text = [one for value in _separate(mask) for one in _read(value)], text
        self._resized: dict[Grid, torch.Tensor] = {}
        self._weights: dict[object, torch.Tensor] = {}

    def __len__(self) -> int:
        """For how many pictures there is a mask of its own; 1 where all have the same."""
        return len(self.masks)

    def at(self, grid: Grid) -> torch.Tensor:
        """The share of each place that steering has, (n, frames, h, w)."""
        if grid not in self._resized:
            rows = torch.cat([resized(one, *grid[1:]) for one in self.masks])
            self._resized[grid] = rows.expand(-1, grid[0], -1, -1)
        return self._resized[grid]

    def weights(self, places: Places, owners: tuple[int, ...] | None, z: torch.Tensor) -> torch.Tensor:
        """The share of the steering that each place of an activation has, in a shape that goes with it, in its dtype.

        Args:
            places: of the activation.
            owners: whose mask each row of the batch has; None where all have the same.
            z: the activation.
        """
        key = (places, owners, z.ndim, z.device, z.dtype)
        if key not in self._weights:
            shares = self.at(places.grid)
            shares = shares if owners is None else shares[list(owners)]
            shares = shares if len(places.axes) > 1 else self._along(places, shares.flatten(1), len(z))
            shape = [len(shares), *(z.shape[axis] if axis in places.axes else 1 for axis in range(1, z.ndim))]
            self._weights[key] = shares.reshape(shape).to(z)
        return self._weights[key]

    def _along(self, places: Places, shares: torch.Tensor, rows: int) -> torch.Tensor:
        """Shares of places among tokens that may also be others, (1 or n, tokens)."""
        rows = max(len(shares), len(places.starts) and (rows if len(places.starts) > 1 else 1))
        among = torch.full((rows, places.tokens), 0.0 if self.text else 1.0)
        for row in range(rows):
            start = places.starts[row % len(places.starts)]
            among[row, start : start + shares.shape[1]] = shares[row % len(shares)]
        return among


def resized(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """A mask (1, 1, h, w) at another size, by the mean of what each place covers."""
    return torch.nn.functional.adaptive_avg_pool2d(mask, (height, width))


def _separate(mask: Any) -> Sequence[Any]:
    """The masks of a list of pictures, arrays or tensors; else what was given, as the only one."""
    if isinstance(mask, list | tuple) and any(hasattr(one, "convert") or getattr(one, "ndim", 0) > 1 for one in mask):
        return mask
    return [mask]


def _read(mask: Any) -> list[torch.Tensor]:
    """Masks (1, 1, h, w) of one value."""
    if hasattr(mask, "convert"):
        mask = _shown(mask)
    try:
        array = mask.detach().cpu() if isinstance(mask, torch.Tensor) else torch.from_numpy(np.array(mask))
    except (TypeError, ValueError):
        array = torch.zeros(0)
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or not array.numel() or array.is_complex():
        size = f" of shape {tuple(mask.shape)}" if hasattr(mask, "shape") else ""
        raise LineaError(
            f"got mask {type(mask).__name__ if size else short(mask)}{size}: expected a picture, an array (h, w), "
            "(n, h, w) or (n, 1, h, w), or a list with one of these for each picture"
        )
    values = array.float() / (255 if array.dtype == torch.uint8 else 1)
    if not bool(((values >= 0) & (values <= 1)).all()):
        low, high = float(values.min()), float(values.max())
        raise LineaError(
            f"got a mask with numbers from {low:.3g} to {high:.3g}: expected 0 (left alone) to 1 (steered), or bytes"
        )
    return list(values[:, None, None].unbind())


def _shown(picture: Any) -> np.ndarray:
    """A PIL image as light, (h, w) bytes; what is transparent in it is black."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        return (np.asarray(clear.convert("L"), float) * np.asarray(clear.getchannel("A")) / 255).round().astype("uint8")
    return np.asarray(picture.convert("L"))
