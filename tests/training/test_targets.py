"""Where training's activations shall go: laws and rows, and what lies between."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from linea_diffusion import TrainingConfig, load_concept, steering_loss
from linea_diffusion.training.loss.distances import variance_of
from linea_diffusion.training.loss.targets import law_targets, positions_of, row_targets

from ..conftest import seeded

PLACES = [("unet.a", 0, 0), ("unet.a", 1, 0)]


def _places(seed: int, rows: int = 6, tokens: int = 3) -> dict:
    draw = seeded(seed)
    return {place: torch.randn(rows, tokens, 4, generator=draw) for place in PLACES}


@pytest.mark.parametrize("scaled", [False, True])
def test_a_law_is_that_of_the_paper(scaled):
    target = {place: rows.flatten(0, 1) for place, rows in _places(0).items()}
    (law,) = law_targets(target, target, [1.0], scaled=scaled)
    source = _places(1, rows=2)
    leaves = {place: rows.clone().requires_grad_() for place, rows in source.items()}
    expected = steering_loss(
        {place: rows.flatten(0, 1) for place, rows in leaves.items()},
        target,
        reduction="sum",
        scale_by_variance=scaled,
    )
    expected.backward()
    loss, gradients = law.distances(source, [0, 1])
    assert torch.allclose(loss.sum(), expected)
    assert all(torch.allclose(gradients[place], leaf.grad) for place, leaf in leaves.items())
    assert len(law) == 2


@pytest.mark.parametrize("scaled", [False, True])
def test_rows_are_compared_token_by_token(scaled):
    before, after, rows = _places(0), _places(1), [4, 1]
    (half,) = row_targets({0.0: before, 1.0: after}, [0.5], scaled=scaled)
    leaves = {place: one[rows].clone().requires_grad_() for place, one in _places(2).items()}
    expected = torch.zeros(())
    for place, leaf in leaves.items():
        squares = (leaf - (before[place] + after[place])[rows] / 2).square().mean()
        expected = expected + squares / (variance_of(after[place].flatten(0, 1)) if scaled else 1)
    expected.backward()
    loss, gradients = half.distances(leaves, rows)
    assert torch.allclose(loss.sum(), expected)
    assert all(torch.allclose(gradients[place], leaf.grad) for place, leaf in leaves.items())


def test_the_way_leads_through_the_levels():
    levels = {level: {PLACES[0]: torch.full((1, 1, 1), value)} for level, value in ((0.0, 0.0), (0.5, 4.0), (1.0, 6.0))}
    for position, expected in ((0.25, 2.0), (0.5, 4.0), (0.75, 5.0), (1.0, 6.0)):
        (target,) = row_targets(levels, [position], scaled=False)
        loss, _ = target.distances({PLACES[0]: torch.full((1, 1, 1), expected)}, [0])
        assert loss == 0


def test_places_that_do_not_vary_are_left_as_they_are():
    same = {PLACES[0]: torch.ones(2, 1, 3)}
    (target,) = row_targets({0.0: same, 1.0: same}, [1.0], scaled=True)
    loss, _ = target.distances({PLACES[0]: torch.zeros(1, 1, 3)}, [0])
    assert loss == 1


def test_only_a_straight_way_is_bent():
    concept = load_concept("neon")
    straight = replace(concept, levels=())
    config = TrainingConfig(strengths=(1.0, 0.5), pairing="rows")
    assert positions_of(straight, config) == [1.0, 0.5**0.8]
    assert positions_of(concept, config) == [1.0, 0.5]
    assert positions_of(concept, TrainingConfig(strengths=(0.5,), pairing="law")) == [0.5**0.8]


def test_what_runs_prompt_by_prompt_is_left_out():
    places, single = _places(0), {PLACES[0]: torch.ones(1, 1, 4)}
    (target,) = row_targets({0.0: places, 1.0: {**places, PLACES[0]: torch.zeros(1, 1, 4)}}, [1.0], scaled=False)
    loss, gradients = target.distances(single, [0, 3])
    assert loss == 0
    assert not gradients[PLACES[0]].any()
