"""The table of figures, and the page that repeats it."""

from __future__ import annotations

from pathlib import Path

from linea_diffusion.scoring.figures import CURVES, OF_PICTURES, SCORES, TRUTH, TURNS, heading

TABLES = (SCORES, TRUTH, CURVES, TURNS)


def test_headers_say_name_and_convention():
    assert heading("clip_score_style") == "clip_score_style (2.5*max(cosine,0))"
    assert heading("prompt") == "prompt"
    headers = [figure.header for figure in [*OF_PICTURES.values(), *CURVES.values()]]
    assert len(set(headers)) == len(headers)
    assert len({figure.label for figure in OF_PICTURES.values()}) == len(OF_PICTURES)
    for table in TABLES:
        assert all(name == figure.name and figure.low < figure.high for name, figure in table.items())


def test_the_page_repeats_the_table():
    page = (Path(__file__).parents[2] / "docs" / "scores.md").read_text(encoding="utf-8")
    for figure in [figure for table in TABLES for figure in table.values()]:
        row = f"| `{figure.name}` | {figure.convention} | {figure.low:g} to {figure.high:g} | {figure.meaning} |"
        assert row in page
