"""A start for low-rank maps in closed form: reduced-rank regression on activations that are recorded anyway."""

from __future__ import annotations

import torch

from ...maps.steering_maps import SteeringMaps
from ...steering.affine.affine_map import AffineMap
from ..trajectory import Places

_RIDGE = 0.01
"""What is added to the second moments of the activations, as a share of their mean."""


@torch.no_grad()
def start_from_regression(maps: SteeringMaps, source: Places, target: Places, share: float) -> None:
    """Give U and V the directions in which the targets differ from the sources, before any gradient.

    For each activation by itself, x U V^T + b is the ridge regression of y - x on x of rank r: all pairs of tokens at
    all denoising steps count alike. Every module is fitted as if it alone were steered, so that all of them together go
    too far: training begins at a share of it, with V in the right directions. Maps per step bin start alike.

    Args:
        maps: fresh, with a low-rank part.
        source: place -> (n, tokens, d), recorded without maps.
        target: likewise, of the targets of the same rows.
        share: of the regression that U and b begin with, [0, 1].
    """
    for name, affine in maps.named_maps():
        places = [place for place in target if place[0] == name]
        x, y = (torch.cat([side[place].flatten(0, -2) for place in places]) for side in (source, target))
        x, y = (side.to(affine.shift.device).double() for side in (x, y))
        _fit(affine, x, y - x, share)


def _fit(affine: AffineMap, x: torch.Tensor, change: torch.Tensor, share: float) -> None:
    centre, mean = x.mean(dim=0), change.mean(dim=0)
    if affine.shift.requires_grad:
        x, change = x - centre, change - mean
    moments = x.mT @ x
    moments.diagonal().add_(_RIDGE * moments.diagonal().mean())
    slopes = torch.linalg.solve(moments, x.mT @ change)  # change is about x @ slopes
    _, directions = torch.linalg.eigh(slopes.mT @ moments @ slopes)
    up = directions.flip(-1)[:, : affine.rank]  # what is explained most comes first
    down = slopes @ up
    lengths = down.norm(dim=0).clamp_min(torch.finfo(x.dtype).tiny)
    start = share * (mean - (centre @ down) @ up.mT) if affine.shift.requires_grad else affine.shift
    affine.begin(share * up * lengths, down / lengths, start)
