"""CSV that a spreadsheet shows as it is, in every table, and that comes back as it was."""

from __future__ import annotations

import csv

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from linea_diffusion import LineaError, StyleGrid
from linea_diffusion.evaluation.records import Record, read_records, write_records
from linea_diffusion.grids.plans import Cell
from linea_diffusion.scoring.entries import Entry, write_entries
from linea_diffusion.scoring.figures import OF_PICTURES
from linea_diffusion.scoring.tables import read_table, write_table

FORMULAS = [
    "=1+1",
    "+a",
    "-a red heart",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'=1",
    "''=1",
    '=HYPERLINK("http://x","y")',
    "+1",
]
PLAIN = ["a cat", "'a' cat", "", "1=1", " =1", "-0.25", "-1e-05", "-3"]


def raw(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_what_looks_like_a_formula_gets_a_quote_and_numbers_do_not(tmp_path):
    write_table([*({"a": text, "b": -0.5} for text in FORMULAS + PLAIN), {"a": None, "b": 3}], tmp_path / "t.csv")
    rows = raw(tmp_path / "t.csv")[1:]
    assert [row[0] for row in rows] == [f"'{text}" for text in FORMULAS] + PLAIN + [""]
    assert {row[1] for row in rows} == {"-0.5", "3"}
    assert [row["a"] for row in read_table(tmp_path / "t.csv")] == [*FORMULAS, *PLAIN, ""]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6), min_size=1))
@example(["'", "''", "'-1", "-1", "-1\n"])
def test_every_text_comes_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    write_table([{"a": text, "b": "x"} for text in texts], path)
    assert [row["a"] for row in read_table(path)] == texts
    for row in raw(path)[1:]:
        assert not row[0].startswith(("=", "+", "@", "\t", "\r", "\n"))


@pytest.mark.parametrize("text", FORMULAS)
def test_every_table_of_ours(tmp_path, text):
    record = Record(text, text, -0.5, text, dict.fromkeys(OF_PICTURES, -0.25))
    write_records([record], tmp_path / "evaluation.csv")
    assert read_records(tmp_path / "evaluation.csv") == [record]
    cell = Cell(
        text,
        -0.5,
        1,
        Image.new("RGB", (8, 8)),
        {"one": -0.5},
        style=text,
        method=text,
        scores={"clip_style_cosine": -0.25},
    )
    StyleGrid([[cell]], style=text).save_csv(tmp_path / "scores.csv")
    write_entries([Entry(tmp_path / "a.png", text)], [{"clip_style_cosine": -0.25}], tmp_path / "table.csv")
    for name, prompts in (
        ("evaluation.csv", ("style", "method", "prompt")),
        ("scores.csv", ("prompt", "style", "row")),
        ("table.csv", ("prompt",)),
    ):
        header, row = raw(tmp_path / name)
        shown = dict(zip(header, row, strict=True))
        assert {shown[prompt] for prompt in prompts} == {f"'{text}"}
        assert float(next(value for key, value in shown.items() if key.startswith("clip_style_cosine"))) == -0.25
        assert shown.get("strength", "-0.5") == "-0.5"


def test_tables_of_others_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("style,method\na,b\n")
    (tmp_path / "y.csv").write_text("a\nb,c\n")
    for name in ("x.csv", "y.csv", "none.csv"):
        with pytest.raises(LineaError, match=f"{name}.*expected"):
            read_records(tmp_path / name)
    with pytest.raises(LineaError, match="expected a place for a table"):
        write_table([{"a": 1}], tmp_path)
