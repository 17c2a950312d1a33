"""The distributional loss of LinEAS: squared 1-D Wasserstein distances, coordinate by coordinate."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Literal, TypeVar

import torch

from ...errors import LineaError

_Place = TypeVar("_Place", bound=Hashable)
Reduction = Literal["mean", "sum"]


def wasserstein_1d(x: torch.Tensor, y: torch.Tensor, *, p: float = 2.0) -> torch.Tensor:
    """Wasserstein distance to the power p between two empirical 1-D laws, for each coordinate.

    In one dimension optimal transport matches quantiles: with F⁻¹, G⁻¹ the empirical quantile functions,
    W_pᵖ = ∫₀¹ |F⁻¹(q) - G⁻¹(q)|ᵖ dq (arXiv 2503.10679, section 3, with p = 2). Both are step functions, so the
    integral is a finite sum, exact for unequal sample sizes too; no sample is dropped.

    Args:
        x: samples, shape (n, ...): n samples of each of the trailing coordinates.
        y: samples, shape (m, ...) with the same trailing shape.
        p: the power, 1 or more.

    Returns:
        Distances of the trailing shape, in units of x to the power p; differentiable in both arguments.

    Raises:
        LineaError: no samples, different trailing shapes, or p below 1.
    """
    if not 1 <= p < math.inf:
        raise LineaError(f"got p={p!r} for wasserstein_1d: expected a power of 1 or more; LinEAS uses 2")
    if x.ndim == 0 or y.ndim == 0 or len(x) == 0 or len(y) == 0 or x.shape[1:] != y.shape[1:]:
        raise LineaError(
            f"got shapes {tuple(x.shape)} and {tuple(y.shape)} for wasserstein_1d: expected (n, ...) and (m, ...) "
            "with n, m >= 1 and the same trailing shape"
        )
    if len(x) == len(y):
        return _power(x.sort(dim=0).values - y.sort(dim=0).values, p).mean(dim=0)
    x, y, weights = match_quantiles(x, y)
    return (weights * _power(x - y, p)).sum(dim=0)


def match_quantiles(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The optimal transport plan between two empirical 1-D laws, for each coordinate.

    Args:
        x: samples, shape (n, ...).
        y: samples, shape (m, ...).

    Returns:
        x and y, (k, ...) each, in matched pieces of ascending order, and the pieces' masses, (k, 1, ...), which add up
        to 1; k is n for equal sizes and below n + m otherwise.
    """
    x, y = x.sort(dim=0).values, y.sort(dim=0).values
    rows_x, rows_y, weights = _matching(len(x), len(y), x.device)
    return x[rows_x], y[rows_y], weights.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))


def _power(differences: torch.Tensor, p: float) -> torch.Tensor:
    return differences.square() if p == 2 else differences.abs().pow(p)


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
    source: Mapping[_Place, torch.Tensor],
    target: Mapping[_Place, torch.Tensor],
    *,
    reduction: Reduction = "mean",
    scale_by_variance: bool = False,
) -> torch.Tensor:
    """LinEAS' training loss: how far source activations are from target activations, everywhere at once.

    For each place (a module at a denoising step) the squared Wasserstein distances are averaged over the d
    coordinates; ``reduction="mean"`` averages the places (the official code), ``"sum"`` adds them
    (arXiv 2503.10679, equation 2).

    Args:
        source: per place the pooled activations (n, d) of the sources, through the maps being learned.
        target: per place the pooled activations (m, d) of the targets; the same places.
        scale_by_variance: divide each place's distance by the variance of its targets (mean over coordinates), so
            that places with large activations do not outweigh the others; places whose targets do not vary are
            left as they are.

    Returns:
        A scalar.

    Raises:
        LineaError: the places differ, or there are none.
    """
    if not source or source.keys() != target.keys():
        raise LineaError(
            f"got {len(source)} source and {len(target)} target places for steering_loss, "
            f"unmatched {sorted(map(str, source.keys() ^ target.keys()))[:3]}: expected the same places on both sides"
        )
    distances = [_place_distance(source[place], target[place], scale_by_variance) for place in source]
    total = torch.stack(distances)
    return total.mean() if reduction == "mean" else total.sum()


def _place_distance(source: torch.Tensor, target: torch.Tensor, scale_by_variance: bool) -> torch.Tensor:
    distance = wasserstein_1d(source, target).mean()
    return distance / variance_of(target) if scale_by_variance else distance


def variance_of(samples: torch.Tensor) -> torch.Tensor:
    """Mean over coordinates of the variance of samples (n, d), (); 1 if they do not vary, so that it can divide."""
    variance = samples.var(dim=0, unbiased=False).mean()
    return torch.where(variance > 1e-9 * samples.square().mean(), variance, 1.0)
