"""The low-rank part U V^T of maps by itself: ranks that do nothing, ranks that are one, and what undoes it."""

from __future__ import annotations

import torch

from ...errors import LineaError

_SMALLEST = 1e-4
Halves = tuple[torch.Tensor, torch.Tensor]


def live_ranks(up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Which ranks do something: neither their column of U nor that of V is all zero.

    Args:
        up: U, (..., d, r).
        down: V, likewise.

    Returns:
        (..., r) of bool.
    """
    return up.any(dim=-2) & down.any(dim=-2)


def trimmed(up: torch.Tensor, down: torch.Tensor) -> Halves:
    """The same U V^T, without ranks that do nothing in any bin, and with zeros where one does nothing in some bin.

    Args:
        up: U, (bins, d, r).
        down: V, likewise.
    """
    live = live_ranks(up, down)
    kept = live.any(dim=0)
    first, second = (torch.where(live[:, None], half, 0.0)[..., kept] for half in (up, down))
    return first, second


def merged(up: torch.Tensor, down: torch.Tensor) -> Halves:
    """The same U V^T, with ranks whose columns of V are equal in all bins made one: their columns of U add up.

    So the low-rank parts of a map and of its negative leave exact zeros.

    Args:
        up: U, (bins, d, r).
        down: V, likewise.
    """
    if down.shape[-1] < 2:
        return up, down
    kinds = torch.unique(down.flatten(0, 1), dim=1, return_inverse=True)[1].tolist()
    first_of = {kind: rank for rank, kind in reversed(list(enumerate(kinds)))}
    firsts = sorted(first_of.values())
    place = torch.tensor([firsts.index(first_of[kind]) for kind in kinds], device=up.device)
    summed = up.new_zeros(*up.shape[:-1], len(firsts)).index_add_(-1, place, up)
    return summed, down[..., firsts]


def undone(w: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> Halves:
    """What the inverse of diag(w) + U V^T has as its own U and V, beside the scale 1/w.

    By Woodbury's identity, with D = diag(w):
    (D + U V^T)^-1 = D^-1 - D^-1 U (1 + V^T D^-1 U)^-1 V^T D^-1.

    Args:
        w: (bins, d), float64.
        up: U, (bins, d, r), likewise.
        down: V, likewise.

    Raises:
        LineaError: some |w|, or the least singular value of 1 + V^T D^-1 U, is below 1e-4, where undoing would blow
            rounding up.
    """
    _refuse_small(w.abs().min(), "a scale")
    if not up.shape[-1]:
        return up, down
    scaled = up / w[..., None]
    mixed = torch.eye(up.shape[-1], dtype=w.dtype, device=w.device) + down.mT @ scaled
    _refuse_small(torch.linalg.svdvals(mixed).min(), "a low-rank part whose 1 + V^T D^-1 U has a least singular value")
    return -torch.linalg.solve(mixed, scaled, left=False), down / w[..., None]


def _refuse_small(smallest: torch.Tensor, what: str) -> None:
    if smallest.item() < _SMALLEST:
        raise LineaError(
            f"got a map with {what} of {smallest.item():.1e}, which cannot be undone: expected at least {_SMALLEST:g}; "
            "a negative strength needs no inverse"
        )
