"""The formulas against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from linea_diffusion.scoring.figures import SCORES
from linea_diffusion.scoring.formulas import (
    clip_score,
    cosine,
    directional_similarity,
    picture_scores,
    text_probabilities,
)

RIGHT, UP, DIAGONAL = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.6, 0.8])


def test_cosine_and_clip_score():
    cosines = cosine(torch.stack([RIGHT, UP, DIAGONAL]), -RIGHT)
    assert cosines.tolist() == pytest.approx([-1, 0, -0.6])
    assert clip_score(-cosines).tolist() == pytest.approx([2.5, 0, 1.5])
    assert clip_score(cosines).tolist() == [0, 0, 0]


def test_text_probabilities_are_a_softmax():
    probabilities = text_probabilities(DIAGONAL[None], torch.stack([RIGHT, UP]), scale=10.0)[0]
    assert probabilities.tolist() == pytest.approx([1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))])


def test_directional_similarity_is_the_cosine_of_two_changes():
    # the picture goes from (1, 0) to (0.6, 0.8): (-0.4, 0.8); the text from (1, 0) to (0, 1): (-1, 1)
    similarity = directional_similarity(DIAGONAL[None], RIGHT[None], UP, RIGHT)
    assert similarity.item() == pytest.approx(1.2 / (math.sqrt(0.8) * math.sqrt(2)))
    assert directional_similarity(RIGHT[None], RIGHT[None], UP, RIGHT).isnan().all()


def test_what_is_known_decides_which_figures_there_are():
    images = torch.stack([DIAGONAL, UP])
    assert picture_scores(images, scale=1.0) == {}
    assert list(picture_scores(images, scale=1.0, style=UP)) == ["clip_style_cosine", "clip_score_style"]
    assert list(picture_scores(images, scale=1.0, references=images)) == ["similarity_to_unsteered"]
    references = torch.stack([RIGHT, torch.full((2,), torch.nan)])
    everything = picture_scores(images, scale=1.0, style=UP, neutral=RIGHT, prompts=images, references=references)
    assert list(everything) == list(SCORES)
    assert everything["similarity_to_unsteered"][0].item() == pytest.approx(0.6)
    assert everything["similarity_to_unsteered"][1].isnan()
    assert everything["directional_similarity"][1].isnan()


def test_every_figure_stays_in_its_range_and_reaches_its_ends():
    angles = torch.linspace(0, 2 * math.pi, 65)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    figures = picture_scores(
        circle, scale=20.0, style=RIGHT, neutral=-RIGHT, prompts=RIGHT.expand(65, 2), references=RIGHT.expand(65, 2)
    )
    for name, values in figures.items():
        numbers = values[~values.isnan()]
        assert numbers.min() >= SCORES[name].low - 1e-5
        assert numbers.max() <= SCORES[name].high + 1e-5
        if name != "directional_similarity":  # nothing is beyond the reference here
            assert numbers.max() == pytest.approx(SCORES[name].high, abs=1e-5)
            assert numbers.min() == pytest.approx(SCORES[name].low, abs=1e-5)
