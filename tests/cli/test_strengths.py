"""One grammar of strengths in every command: a number, several with commas, or FIRST:LAST:COUNT."""

from __future__ import annotations

import csv

import pytest
from PIL import Image

STEPS = ("--steps", 1)


@pytest.fixture
def maps(random_maps, tmp_path):
    """Maps on disk."""
    random_maps.save_pretrained(tmp_path / "maps")
    return tmp_path / "maps"


@pytest.mark.parametrize(
    ("text", "names"), [("0:1:3", ["x-0", "x-0.5", "x-1"]), ("0.5,1", ["x-0.5", "x-1"]), ("1", ["x"])]
)
def test_of_generate(linea, maps, tmp_path, text, names):
    out = ("--out", tmp_path / "out" / "x.png")
    assert linea("generate", "a heart", "--steering", maps, "--strength", text, *STEPS, *out)[0] == 0
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == names


@pytest.mark.parametrize(
    ("options", "columns"), [(("--strengths", "0:1:3"), ["0", "0.5", "1"]), (("--strengths", "0.5"), ["0.5"])]
)
def test_of_grid(linea, maps, tmp_path, options, columns):
    more = ("--clip", "none", *STEPS, "--out", tmp_path / "grid")
    assert linea("grid", "a heart", "--steering", maps, *options, *more)[0] == 0
    rows = list(csv.DictReader((tmp_path / "grid" / "scores.csv").open()))
    assert [row["column"] for row in rows] == columns


def test_of_the_rows_of_a_second_dial(linea, maps, tmp_path):
    dials = ("--steering", f"a={maps}", "--against", f"b={maps}", "--strengths", "1", "--row-strengths", "0:1:2")
    assert linea("grid", "a heart", *dials, "--clip", "none", *STEPS, "--out", tmp_path / "grid")[0] == 0
    rows = list(csv.DictReader((tmp_path / "grid" / "scores.csv").open()))
    assert [row["row"] for row in rows] == ["b 0", "b 1"]
    assert Image.open(tmp_path / "grid" / "grid.png").width > 192


@pytest.mark.parametrize(("text", "found"), [("0:1:3", {"0.0", "0.5", "1.0"}), ("0,1", {"0.0", "1.0"})])
def test_of_evaluate(linea, maps, tmp_path, text, found):
    options = ("--methods", maps, "--count", 2, "--strengths", text, *STEPS, "--out", tmp_path / "out")
    assert linea("evaluate", "--style", "neon", *options)[0] == 0
    assert {row["strength"] for row in csv.DictReader((tmp_path / "out" / "evaluation.csv").open())} == found


@pytest.mark.parametrize(("text", "images"), [("0:1:3", 3), ("0,1", 2), ("0.7", 1)])
def test_of_batch(linea, maps, tmp_path, text, images):
    (tmp_path / "jobs.txt").write_text("a heart\n")
    options = ("--steering", maps, "--strengths", text, "--dry-run", "--log", "none", "--out", tmp_path / "out")
    assert linea("batch", tmp_path / "jobs.txt", *options)[1].startswith(f"{images} images in")
