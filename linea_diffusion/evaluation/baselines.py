"""The methods that LinEAS is compared with: maps in closed form, from activations recorded once.

Each fits one coordinate at a time, from the unsteered activations x of the source prompts and y of the target prompts:
no gradient, no loss over the whole model. Samples of all denoising steps go into one map, or those of each step bin
into its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from ..concepts.concept import Concept
from ..maps.steering_maps import SteeringMaps
from ..steering.affine.affine_map import AffineMap
from ..training.config import TrainingConfig
from ..training.iteration import Batches, batches_of, facts_of, with_prompts
from ..training.loss.distances import match_quantiles
from ..training.models import run_of
from ..training.recipes import recipe_for
from ..training.runs import Places

Fit = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def mean_shift(pipe: Any, concept: Concept, config: TrainingConfig | None = None) -> SteeringMaps:
    """Add the difference of the means: w = 1, b = mean(y) - mean(x) (ITI-c, after arXiv 2306.03341).

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        concept: source and target prompts.
        config: modules, steps, guidance, pooling, step bins and seed are used; the rest concerns gradients.
    """
    return _fitted(pipe, concept, config, fit_means, "mean shift")


def gaussian_act(pipe: Any, concept: Concept, config: TrainingConfig | None = None) -> SteeringMaps:
    """Transport between Gaussians: w = std(y) / std(x), b = mean(y) - w * mean(x) (arXiv 2410.23054).

    Args: as for `mean_shift`.
    """
    return _fitted(pipe, concept, config, fit_gaussians, "Gaussian-AcT")


def linear_act(
    pipe: Any, concept: Concept, config: TrainingConfig | None = None, *, sequential: bool = True
) -> SteeringMaps:
    """The affine map that is nearest to the optimal transport map, by least squares on matched quantiles.

    With x and y sorted and matched, w = cov(x, y) / var(x) and b = mean(y) - w * mean(x) (Linear-AcT,
    arXiv 2410.23054).

    Args:
        pipe, concept, config: as for `mean_shift`.
        sequential: the paper's way: modules one after the other in the order in which they run, each fitted to
            activations that the maps before it have moved already; one more pass for each module. Otherwise all at
            once, from unsteered activations.
    """
    if sequential:
        return _fitted_in_turn(pipe, concept, config)
    return _fitted(pipe, concept, config, fit_quantiles, "Lin-AcT, at once")


def fit_means(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(w - 1, b) of the mean shift: x (n, d), y (m, d) -> (d,), (d,)."""
    return torch.zeros_like(x[0]), y.mean(dim=0) - x.mean(dim=0)


def fit_gaussians(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(w - 1, b) between Gaussians; a coordinate that does not vary is shifted only."""
    ratio = y.double().std(dim=0, unbiased=False) / x.double().std(dim=0, unbiased=False)
    return _affine(x, y, ratio)


def fit_quantiles(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(w - 1, b) by weighted least squares on matched quantiles, exact for unequal sizes; a coordinate that does not
    vary is shifted only."""
    sorted_x, sorted_y, weights = match_quantiles(x.double(), y.double())
    centred = sorted_x - (weights * sorted_x).sum(dim=0)
    covariance = (weights * centred * (sorted_y - (weights * sorted_y).sum(dim=0))).sum(dim=0)
    return _affine(x, y, covariance / (weights * centred.square()).sum(dim=0))


def _affine(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(w - 1, b) with b such that the means match, and w = 1 where x varies by no more than float32 rounding."""
    wide = x.double()
    varies = wide.std(dim=0, unbiased=False) > 1e-6 * wide.abs().amax(dim=0)
    scale_offset = torch.where(varies, w - 1, 0.0)
    shift = y.double().mean(dim=0) - (1 + scale_offset) * wide.mean(dim=0)
    return scale_offset.to(x.dtype), shift.to(x.dtype)


def _fitted(pipe: Any, concept: Concept, config: TrainingConfig | None, fit: Fit, method: str) -> SteeringMaps:
    with _batches(pipe, concept, config) as batches:
        source, target = batches.samples(concept.source), batches.samples(concept.target)
        maps = batches.fresh_maps(target)
        for name, affine in maps.named_maps():
            _fit_map(affine, name, source, target, fit)
        return _noted(maps, batches, concept, method)


def _fitted_in_turn(pipe: Any, concept: Concept, config: TrainingConfig | None) -> SteeringMaps:
    with _batches(pipe, concept, config) as batches:
        target = batches.samples(concept.target)
        maps = batches.fresh_maps(target).requires_grad_(False)
        affine_of = dict(maps.named_maps())
        for name in dict.fromkeys(place[0] for place in target):  # places come in the order of running
            with batches.run.steered(maps, 1.0):
                source = batches.samples(concept.source)
            _fit_map(affine_of[name], name, source, target, fit_quantiles)
        return _noted(maps, batches, concept, "Lin-AcT")


@contextmanager
def _batches(pipe: Any, concept: Concept, config: TrainingConfig | None) -> Iterator[Batches]:
    """Batches with the settings as these methods use them: w and b are all that they fit, to laws."""
    config = config or recipe_for(pipe, pairing="law")
    config = replace(config, rank=0, scale=True, shift=True, pairing="law", warm_start=TrainingConfig.warm_start)
    with batches_of(run_of(pipe, config), config) as batches:
        batches.run.check(concept, config.micro_batch_size or config.batch_size)
        yield batches


@torch.no_grad()
def _fit_map(affine: AffineMap, name: str, source: Places, target: Places, fit: Fit) -> None:
    places = [place for place in target if place[0] == name]
    calls = 1 + max(call for _, call, _ in places)
    parts = [tensor.view(affine.bins, -1) for tensor in affine.tensors().values()]
    for step_bin in range(affine.bins):
        within = [place for place in places if place[1] * affine.bins // calls == step_bin]
        if within:
            x, y = (torch.cat([side[place] for place in within]) for side in (source, target))
            for part, numbers in zip(parts, fit(x, y), strict=True):
                part[step_bin] = numbers


def _noted(maps: SteeringMaps, batches: Batches, concept: Concept, method: str) -> SteeringMaps:
    facts = facts_of(batches.run, concept, batches.config)
    maps.metadata = replace(with_prompts(facts, concept), method=method).as_metadata()
    return maps.requires_grad_(False)
