"""A move of what a linear layer puts out, as a low-rank change of the layer's weight, and back."""

from __future__ import annotations

import torch

from .move import Move


def low_rank_change(move: Move, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """B and A with ``B @ A = (diag(w-1) + U V^T) W``, in as few columns of B as that takes without an SVD; float64.

    Args:
        move: of one row, of d features.
        weight: W, (d, n).
    """
    offset, mixing = move.factor[0].double() - 1, move.up[0].double()
    rows, mixed = offset.nonzero()[:, 0], move.down[0].double().mT @ weight
    if mixing.shape[1] + len(rows) < min(weight.shape):
        picked = torch.zeros(len(offset), len(rows), dtype=torch.float64, device=weight.device)
        picked[rows, torch.arange(len(rows))] = offset[rows]
        return torch.cat([mixing, picked], 1), torch.cat([mixed, weight[rows]])
    if len(weight) <= weight.shape[1]:
        return torch.diag(offset) + mixing @ move.down[0].double().mT, weight
    identity = torch.eye(weight.shape[1], dtype=torch.float64, device=weight.device)
    return offset[:, None] * weight + mixing @ mixed, identity


def move_of_change(
    weight: torch.Tensor, bias: torch.Tensor | None, change: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> tuple[Move, float]:
    """The move z -> z + U V^T z + b of a layer's output that a change of the layer is, and what share of it is none.

    Args:
        weight: of the layer, (d, n).
        bias: (d,), or None for zeros.
        change: B (d, k) and A (k, n), whose product is added to the weight, and what is added to the bias, (d,).

    Returns:
        The move, float32, with V the best solution of ``V^T W = A``, and the share of A that is missed.
    """
    mixing, reading, added = (part.double() for part in change)
    whole = weight.double()
    basis = torch.linalg.lstsq(whole.mT, reading.mT, driver="gelsd").solution
    missed = float((basis.mT @ whole - reading).norm() / reading.norm().clamp_min(1e-30))
    shift = added if bias is None else added - mixing @ (basis.mT @ bias.double())
    parts = torch.ones_like(shift), shift, mixing, basis
    return Move(*(part[None].float() for part in parts)), missed


def move_of_inputs(
    weight: torch.Tensor, columns: slice, change: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> tuple[Move, float]:
    """As `move_of_change`, of an activation that the layer takes in some of its columns."""
    mixing, reading, added = (part.double() for part in change)
    outside = reading.clone()
    outside[:, columns] = 0
    wanted = torch.cat([mixing, added[:, None]], 1)
    taken = weight.double()[:, columns]
    solved = torch.linalg.lstsq(taken, wanted, driver="gelsd").solution
    missed = float((taken @ solved - wanted).norm() / wanted.norm().clamp_min(1e-30))
    missed = max(missed, float(outside.norm() / reading.norm().clamp_min(1e-30)))
    parts = torch.ones(len(solved)), solved[:, -1], solved[:, :-1], reading[:, columns].mT
    return Move(*(part[None].float() for part in parts)), missed


def move_of_scale(weight: torch.Tensor, bias: torch.Tensor | None, change: tuple[torch.Tensor, torch.Tensor]) -> Move:
    """The move of a normalisation's output that adding to its weight and bias is; all (d,)."""
    factor = 1 + change[0] / weight
    shift = change[1] if bias is None else change[1] - (factor - 1) * bias
    return Move.of(factor[None].float(), shift[None].float())
