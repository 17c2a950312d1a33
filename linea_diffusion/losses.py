"""The distributional loss of LinEAS: squared 1-D Wasserstein distances, coordinate by coordinate."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Literal, TypeVar

import torch

from .errors import LineaError

Place = TypeVar("Place", bound=Hashable)
Reduction = Literal["mean", "sum"]


def wasserstein_1d(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Squared 2-Wasserstein distance between two empirical 1-D laws, for each coordinate.

    In one dimension optimal transport matches quantiles: with F⁻¹, G⁻¹ the empirical quantile functions,
    W₂² = ∫₀¹ (F⁻¹(q) - G⁻¹(q))² dq (arXiv 2503.10679, section 3). Both are step functions, so the integral
    is a finite sum, exact for unequal sample sizes too; no sample is dropped.

    Args:
        x: samples, shape (n, ...): n samples of each of the trailing coordinates.
        y: samples, shape (m, ...) with the same trailing shape.

    Returns:
        Distances of the trailing shape, in squared units of x; differentiable in both arguments.

    Raises:
        LineaError: no samples, or different trailing shapes.
    """
    if x.ndim == 0 or y.ndim == 0 or len(x) == 0 or len(y) == 0 or x.shape[1:] != y.shape[1:]:
        raise LineaError(
            f"wasserstein_1d got shapes {tuple(x.shape)} and {tuple(y.shape)}: expected (n, ...) and (m, ...) "
            "with n, m >= 1 and the same trailing shape"
        )
    x, y = x.sort(dim=0).values, y.sort(dim=0).values
    if len(x) == len(y):
        return (x - y).square().mean(dim=0)
    rows_x, rows_y, weights = _matching(len(x), len(y), x.device)
    weights = weights.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
    return (weights * (x[rows_x] - y[rows_y]).square()).sum(dim=0)


def _matching(n: int, m: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Optimal plan between n and m sorted samples: rows of x, rows of y and mass of each matched piece.

    Cut [0, 1] at all i/n and k/m. In units of 1/(n*m) the cuts are integers, so nothing is rounded.
    """
    cuts = torch.cat([torch.arange(n + 1, device=device) * m, torch.arange(m + 1, device=device) * n])
    cuts = torch.unique(cuts)
    starts, mass = cuts[:-1], cuts.diff()
    return starts // m, starts // n, mass.double() / (n * m)


def interpolate_laws(x: torch.Tensor, y: torch.Tensor, fraction: float) -> torch.Tensor:
    """Samples of the law that lies between two empirical 1-D laws, for each coordinate.

    Displacement interpolation (McCann 1997): each quantile of x moves straight to the same quantile of y, so the
    law at `fraction` is at W2 distance fraction * W2(x, y) from x, along the shortest way.

    Args:
        x: samples, shape (n, ...).
        y: samples, shape (m, ...).
        fraction: 0 gives the law of x, 1 that of y.

    Returns:
        Equally weighted samples, shape (lcm(n, m), ...), exact for unequal sizes too.
    """
    count = math.lcm(len(x), len(y))
    x, y = (samples.sort(dim=0).values.repeat_interleave(count // len(samples), dim=0) for samples in (x, y))
    return torch.lerp(x, y, fraction)


def steering_loss(
    source: Mapping[Place, torch.Tensor],
    target: Mapping[Place, torch.Tensor],
    *,
    reduction: Reduction = "mean",
) -> torch.Tensor:
    """LinEAS' training loss: how far source activations are from target activations, everywhere at once.

    For each place (a module at a denoising step) the squared Wasserstein distances are averaged over the d
    coordinates; ``reduction="mean"`` averages the places (the official code), ``"sum"`` adds them
    (arXiv 2503.10679, equation 2).

    Args:
        source: per place the pooled activations (n, d) of the sources, through the maps being learned.
        target: per place the pooled activations (m, d) of the targets; the same places.

    Returns:
        A scalar.

    Raises:
        LineaError: the places differ, or there are none.
    """
    if not source or source.keys() != target.keys():
        raise LineaError(
            f"steering_loss got {len(source)} source and {len(target)} target places, "
            f"unmatched: {sorted(map(str, source.keys() ^ target.keys()))[:3]}: expected the same places on both sides"
        )
    distances = torch.stack([wasserstein_1d(source[place], target[place]).mean() for place in source])
    return distances.mean() if reduction == "mean" else distances.sum()
