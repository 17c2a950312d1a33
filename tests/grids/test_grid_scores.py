"""Scores of grids: whose texts, whose reference, and the figures of curves against a closed form."""

from __future__ import annotations

import json
import math

import pytest
import torch
from PIL import Image

from linea_diffusion import ClipScorer, LineaError, StyleGrid
from linea_diffusion.concepts.concept import StyleTexts
from linea_diffusion.grids.grid_scores import curve_figures
from linea_diffusion.grids.plans import Cell
from linea_diffusion.grids.report.grid_page import grid_page
from linea_diffusion.scoring.figures import SCORES
from linea_diffusion.shapeland.world import Scene, render

TEXTS = {name: StyleTexts(name, f"a picture in {name} style") for name in ("neon", "mosaic")}


@pytest.fixture(scope="module")
def scorer():
    return ClipScorer()


def picture(style=None, amount=1.0):
    return render(Scene("heart", "red", style, amount, 1) if style else Scene("heart", "red", seed=1))


def by_style(**options):
    rows = [
        [Cell("a red heart", s, 0, picture(name, s) if s else picture(), {name: s}, name) for s in (0.0, 1.0)]
        for name in TEXTS
    ]
    return StyleGrid(rows, style="", kind="styles x strengths", row_labels=list(TEXTS), **options)


def test_each_row_is_scored_against_its_own_style(scorer):
    for grid in (by_style(texts=TEXTS).score(scorer), by_style().score(scorer, TEXTS)):
        assert all(
            row[1].scores["clip_style_probability"] > 0.9 > 0.1 > row[0].scores["clip_style_probability"]
            for row in grid.rows
        )
    one = by_style(texts=TEXTS).score(scorer, TEXTS["neon"])
    assert one.rows[0][1].scores["clip_style_probability"] > 0.9 > 0.1 > one.rows[1][1].scores["clip_style_probability"]
    assert one.facts["scorer"] == "shapeland-clip"
    with pytest.raises(LineaError, match="to score 'neon'"):
        by_style().score(scorer)
    with pytest.raises(LineaError, match="to score 'mosaic'"):
        by_style().score(scorer, {"neon": TEXTS["neon"]})


def test_two_dials_are_scored_for_both_styles_each_under_its_name(scorer, tmp_path):
    cells = [
        [
            Cell("a red heart", b, 0, picture("neon", b) if b else picture("mosaic", a) if a else picture(),
                 {"mosaic": a, "neon": b}, "mosaic")
            for b in (0.0, 1.0)
        ]
        for a in (0.0, 1.0)
    ]  # fmt: skip
    grid = StyleGrid(cells, style="mosaic", kind="mosaic x neon", texts=TEXTS).score(scorer)
    assert grid.dials == ["mosaic", "neon"]
    shown = grid.rows[0][1].scores
    assert shown["clip_style_probability_neon"] > 0.9
    assert grid.rows[1][0].scores["clip_style_probability_mosaic"] > 0.9
    assert not SCORES.keys() & {name for name in shown if "style" in name}, "no figure without the name of its style"
    assert "clip_prompt_cosine" in shown
    grid.save_csv(tmp_path / "scores.csv")
    head = (tmp_path / "scores.csv").read_text().splitlines()[0].split(",")
    assert {"clip_style_cosine_mosaic", "clip_style_cosine_neon", "strength.mosaic", "strength.neon"} <= set(head)
    told = json.loads((tmp_path / "scores.columns.json").read_text())["columns"]
    assert told["clip_style_cosine_neon"]["convention"] == "raw cosine"
    assert told["clip_style_cosine_neon"]["label"] == "CLIP, style: neon"
    grid.save(tmp_path / "grid.png", cell_size=64, score="clip_style_cosine_neon", colorbar=True)
    titles = [section.title for section in grid_page(grid).sections]
    assert titles == ["Scores"], "each row turns one style under another: no rank correlation of either"
    alone = StyleGrid(cells, style="mosaic", kind="mosaic x neon", texts=TEXTS).score(scorer, TEXTS["neon"])
    assert "clip_style_cosine" in alone.rows[0][1].scores


def test_the_reference_is_the_unsteered_picture_of_the_same_prompt_and_seed_anywhere(scorer):
    cells = [
        [
            Cell("a red heart", b, 0, picture("neon", max(a, b)) if a or b else picture(), {"a": a, "b": b})
            for b in (0.0, 1.0)
        ]
        for a in (0.0, 1.0)
    ]
    grid = StyleGrid(cells, style="neon").score(scorer, TEXTS["neon"])
    expected = scorer.image_similarity([picture("neon")], [picture()]).item()
    assert grid.rows[1][0].scores["similarity_to_unsteered"] == pytest.approx(expected, abs=1e-5)
    assert grid.rows[0][0].scores["similarity_to_unsteered"] == pytest.approx(1, abs=1e-5)
    cells[0][0].seed = 7
    grid.score(scorer, TEXTS["neon"])
    assert "similarity_to_unsteered" not in grid.rows[1][0].scores
    assert "directional_similarity" not in grid.rows[1][0].scores


def test_what_was_asked_for_in_words_is_no_reference(scorer):
    cells = [
        [
            Cell("a red heart", 0.0, 0, picture("neon"), asked="a red heart, neon"),
            Cell("a red heart", 1.0, 0, picture()),
        ]
    ]
    grid = StyleGrid(cells, style="neon").score(scorer, TEXTS["neon"])
    assert "similarity_to_unsteered" not in grid.rows[0][1].scores


def cells(strengths, values, **more):
    image = Image.new("RGB", (8, 8))
    return [
        Cell("a", s, 0, image, scores={"clip_style_cosine": v}, **more) for s, v in zip(strengths, values, strict=True)
    ]


def test_curves_by_hand():
    # gaps of 0.1 and 0.3 where 0.2 each would be even: 0.5 and 1.5, whose standard deviation is 0.5
    angles = torch.tensor([0.0, 0.3, 0.2])
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    figures = curve_figures(cells([0, 0.5, 1], [0.1, 0.2, 0.5]), embeddings, "clip_style_cosine")
    assert figures == pytest.approx({"spearman": 1, "gap_deviation": 0.5, "triangle_deficit": 0.2}, abs=1e-6)
    order = [2, 0, 1]
    mixed = curve_figures(cells([1, 0, 0.5], [0.5, 0.1, 0.2]), embeddings[order], "clip_style_cosine")
    assert mixed == pytest.approx(figures), "columns may stand in any order"


def test_curves_that_cannot_be_are_nan_or_refused():
    embeddings = torch.eye(3)
    figures = curve_figures(cells([0, 0.5, 1], [0.1, 0.2, 0.5], asked="a, neon"), embeddings, "clip_style_cosine")
    assert all(math.isnan(value) for value in figures.values())
    assert math.isnan(curve_figures(cells([0, 1], [0.1, 0.2]), embeddings[:2], "clip_style_cosine")["triangle_deficit"])
    with pytest.raises(LineaError, match="each once"):
        curve_figures(cells([0, 0, 1], [0.1, 0.2, 0.3]), embeddings, "clip_style_cosine")
    with pytest.raises(LineaError, match="no picture of this grid has: expected clip_style_cosine"):
        curve_figures(cells([0, 1, 2], [0.1, 0.2, 0.3]), embeddings, "clip_prompt_cosine")


def test_a_grid_tells_its_rows_curves(scorer):
    grid = by_style(texts=TEXTS).score(scorer)
    assert [row["spearman"] for row in grid.curve_figures()] == pytest.approx([1, 1])
    assert [row["spearman"] for row in grid.curve_figures("similarity_to_unsteered")] == pytest.approx([-1, -1])
    with pytest.raises(LineaError, match="scored"):
        by_style().curve_figures()
