"""`StyleGrid` as a whole: from prompts to scores and files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from linea_diffusion import ClipScorer, LineaError, StyleGrid, load_concept
from linea_diffusion.grids.plans import Cell
from linea_diffusion.scoring.figures import SCORES

from ..conftest import seeded

STRENGTHS = (0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def grid(loaded_pipe, random_maps):
    loaded_pipe.load_steering(random_maps)
    grid = StyleGrid.render(loaded_pipe, ["a red heart", "a blue fish"], STRENGTHS, seeds=5, style="neon")
    loaded_pipe.steering.clear()
    return grid.score(ClipScorer(), load_concept("neon"))


def test_cells_are_the_pictures_of_single_calls(grid, pipe, random_maps):
    assert [[(c.prompt, c.strength, c.seed) for c in row] for row in grid.rows] == [
        [(prompt, s, seed) for s in STRENGTHS] for prompt, seed in (("a red heart", 5), ("a blue fish", 6))
    ]
    pipe.load_steering(random_maps)
    alone = pipe("a blue fish", strength=0.5, generator=seeded(6)).images[0]
    difference = np.abs(np.asarray(alone, dtype=int) - np.asarray(grid.rows[1][1].image, dtype=int))
    assert difference.max() <= 2


def test_scores_are_the_scorers(grid):
    scorer, concept = ClipScorer(), load_concept("neon")
    images, prompts = [cell.image for cell in grid.cells], [cell.prompt for cell in grid.cells]
    unsteered = [grid.rows[i // 3][0].image for i in range(6)]
    expected = {
        "clip_style_cosine": scorer.text_similarity(images, concept.text),
        "clip_prompt_cosine": scorer.text_similarity(images, prompts),
        "clip_score_style": scorer.clip_score(images, concept.text),
        "clip_score_prompt": scorer.clip_score(images, prompts),
        "clip_style_probability": scorer.style_probability(images, concept.text, concept.neutral),
        "directional_similarity": scorer.directional_similarity(images, unsteered, concept.text, concept.neutral),
        "similarity_to_unsteered": scorer.image_similarity(images, unsteered),
    }
    assert list(expected) == list(SCORES)
    for name, values in expected.items():
        for cell, value in zip(grid.cells, values.tolist(), strict=True):
            assert cell.scores.get(name, float("nan")) == pytest.approx(value, abs=1e-5, nan_ok=True)
    assert [("directional_similarity" in cell.scores) for cell in grid.rows[0]] == [False, True, True]


def test_csv_has_a_line_per_cell_and_says_the_conventions(grid, tmp_path):
    grid.save_csv(tmp_path / "deep" / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "deep" / "scores.csv").open()))
    facts = ["prompt", "style", "strength", "seed", "row", "column", "method", "strengths"]
    assert list(rows[0]) == [*facts, *SCORES]
    assert [float(row["strength"]) for row in rows] == [0, 0.5, 1] * 2
    assert json.loads(rows[4]["strengths"]) == grid.cells[4].strengths == {"default": 0.5}
    assert float(rows[4]["clip_style_cosine"]) == pytest.approx(grid.cells[4].scores["clip_style_cosine"], abs=1e-5)
    assert rows[0]["directional_similarity"] == ""


def test_mean_scores_are_column_means(grid):
    means = grid.mean_scores()
    assert [row["strength"] for row in means] == list(STRENGTHS)
    expected = (grid.rows[0][2].scores["clip_style_cosine"] + grid.rows[1][2].scores["clip_style_cosine"]) / 2
    assert means[2]["clip_style_cosine"] == pytest.approx(expected)


def test_the_saved_grid_is_the_drawn_one(grid, tmp_path):
    grid.save(tmp_path / "deep" / "grid.png", cell_size=96, colorbar=True)
    saved = Image.open(tmp_path / "deep" / "grid.png")
    assert saved.tobytes() == grid.image(cell_size=96, colorbar=True).tobytes()


def test_labels_title_and_facts_have_defaults_that_say_what_is_known():
    image = Image.new("RGB", (8, 8))
    grid = StyleGrid([[Cell("a", 0.25, 0, image), Cell("a", 1.0, 0, image)]], style="neon")
    assert (grid.title, grid.row_labels, grid.column_labels) == ("neon", ["a"], ["0.25", "1"])
    assert (grid.kind, grid.facts) == ("prompts x strengths", {})


def test_grids_that_make_no_sense_are_refused():
    image = Image.new("RGB", (8, 8))
    with pytest.raises(LineaError, match="equal lengths"):
        StyleGrid([], style="x")
    with pytest.raises(LineaError, match="2 row labels and 1 column labels: expected 1 and 1"):
        StyleGrid([[Cell("a", 0, 0, image)]], style="x", row_labels=["a", "b"])
