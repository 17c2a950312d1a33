"""The table of figures, and the page that repeats it."""

from __future__ import annotations

from pathlib import Path

from linea_diffusion.scoring.figures import CURVES, EARLIER, OF_PICTURES, SCORES, TEXTS, TRUTH, TURNS, described

TABLES = (SCORES, TRUTH, TEXTS, CURVES, TURNS)


def test_headers_say_name_and_convention():
    assert SCORES["clip_score_style"].header == "clip_score_style (2.5*max(cosine,0))"
    headers = [figure.header for figure in [*OF_PICTURES.values(), *CURVES.values()]]
    assert len(set(headers)) == len(headers)
    assert len({figure.label for figure in OF_PICTURES.values()}) == len(OF_PICTURES)
    for table in TABLES:
        assert all(name == figure.name and figure.low < figure.high for name, figure in table.items())


def test_no_name_is_two_figures():
    named = [name for table in (OF_PICTURES, TEXTS, CURVES) for name in table]
    assert len(set(named)) == len(named)
    assert not EARLIER.keys() & OF_PICTURES.keys(), "an earlier name never comes back as another figure"
    assert set(EARLIER.values()) <= OF_PICTURES.keys()


def test_what_stands_beside_a_table_is_of_the_one_table():
    told = described(["prompt", "row", "clip_style_cosine", "triangle_deficit"])
    assert list(told) == ["prompt", "clip_style_cosine", "triangle_deficit"]
    assert told["clip_style_cosine"]["convention"] == "raw cosine"
    assert told["clip_style_cosine"]["range"] == [-1, 1]
    assert told["triangle_deficit"]["range"] == [0, None]


def test_the_page_repeats_the_table():
    page = (Path(__file__).parents[2] / "docs" / "scores.md").read_text(encoding="utf-8")
    for figure in [figure for table in TABLES for figure in table.values()]:
        row = f"| `{figure.name}` | {figure.convention} | {figure.low:g} to {figure.high:g} | {figure.meaning} |"
        assert row in page
