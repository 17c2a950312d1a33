"""Grids: what is rendered, scored, drawn and written."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image, ImageChops

from linea_diffusion import ClipScorer, LineaError, StyleGrid, load_concept
from linea_diffusion.grids import SCORES, Cell

from .conftest import seeded

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
    images = [cell.image for cell in grid.cells]
    expected = {
        "clip_style": scorer.text_similarity(images, concept.text),
        "clip_prompt": scorer.text_similarity(images, [cell.prompt for cell in grid.cells]),
        "style_probability": scorer.style_probability(images, concept.text, concept.neutral),
        "similarity_to_unsteered": scorer.image_similarity(images, [grid.rows[i // 3][0].image for i in range(6)]),
    }
    assert tuple(expected) == SCORES
    for name, values in expected.items():
        assert [cell.scores[name] for cell in grid.cells] == pytest.approx(values.tolist(), abs=1e-5)


def test_without_strength_0_there_is_no_similarity(grid):
    rows = [[Cell(c.prompt, c.strength, c.seed, c.image) for c in row[1:]] for row in grid.rows]
    scored = StyleGrid(rows, style="neon").score(ClipScorer(), load_concept("neon"))
    assert all("similarity_to_unsteered" not in cell.scores for cell in scored.cells)


def test_the_picture_shows_every_cell_and_every_label(grid, tmp_path):
    grid.save(tmp_path / "deep" / "grid.png", cell_size=128)
    sheet = Image.open(tmp_path / "deep" / "grid.png")
    enlarged = grid.rows[0][1].image.resize((128, 128), Image.Resampling.NEAREST)
    left, top, step = 128, 128 // 3, 128 + 128 // 16
    assert (
        ImageChops.difference(sheet.crop((left + step, top, left + step + 128, top + 128)), enlarged).getbbox() is None
    )
    for box in ((0, 0, left, top), (left, 0, left + 128, top), (0, top, left - 8, top + 128)):
        assert np.asarray(sheet.crop(box)).min() < 100, "a label is missing"
    under = sheet.crop((left, top + 128, left + 128, top + 128 + 16))
    assert np.asarray(under).min() < 160, "the score under the cell is missing"


def test_csv_has_a_line_per_cell(grid, tmp_path):
    grid.save_csv(tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert list(rows[0]) == ["prompt", "style", "strength", "seed", *SCORES]
    assert [float(row["strength"]) for row in rows] == [0, 0.5, 1] * 2
    assert float(rows[4]["clip_style"]) == pytest.approx(grid.cells[4].scores["clip_style"], abs=1e-5)


def test_mean_scores_are_column_means(grid):
    means = grid.mean_scores()
    assert [row["strength"] for row in means] == list(STRENGTHS)
    expected = (grid.rows[0][2].scores["clip_style"] + grid.rows[1][2].scores["clip_style"]) / 2
    assert means[2]["clip_style"] == pytest.approx(expected)


def test_long_prompts_are_wrapped_and_shortened():
    image = Image.new("RGB", (64, 64))
    tall = StyleGrid([[Cell("a very long prompt " * 40, 0.0, 0, image)]], style="x").image(cell_size=128)
    short = StyleGrid([[Cell("a", 0.0, 0, image)]], style="x").image(cell_size=128)
    assert tall.size == short.size
    assert np.asarray(tall.crop((0, 0, 120, 40))).min() == np.asarray(short.crop((0, 0, 120, 40))).min()


def test_grids_that_make_no_sense_are_refused(pipe):
    with pytest.raises(LineaError, match="equal lengths"):
        StyleGrid([], style="x")
    with pytest.raises(LineaError, match="2 prompts and 1 seeds"):
        StyleGrid.render(pipe, ["a", "b"], [0.0], seeds=[1])
