"""A blind comparison: sides are dealt out evenly, choices are written down at once, and the count is right."""

from __future__ import annotations

import csv

import pytest
from scipy.stats import binomtest

from linea_diffusion import LineaError
from linea_diffusion.studio.study import COLUMNS, Side, Study, study_of, study_value, wilson

SIDES = (Side("neon 1", (("neon", 1.0),)), Side("neon, in words", words="neon"))


def test_choices_are_counted_for_the_side_and_not_for_the_place(tmp_path):
    study = Study(SIDES, ["a red heart", "a blue fish"], range(4), tmp_path / "choices.csv", order_seed=5)
    places = []
    while not study.is_over:
        left, _ = study.shown
        places.append(left.name)
        scenes = study.scenes
        assert {scene.prompt.endswith(", neon") for scene in scenes} == {True, False}
        study.choose("left" if left.name == "neon 1" else "right")
    assert places.count("neon 1") == 4, "as often on the left as on the right"
    assert places != sorted(places)
    assert study.chosen == ["neon 1"] * 8
    with (tmp_path / "choices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["chosen"] for row in rows} == {"neon 1"}
    assert {row["choice"] for row in rows} == {"left", "right"}
    assert len({(row["prompt"], row["seed"]) for row in rows}) == 8
    assert "neon 1 was chosen 8 times, neon, in words 0 times, neither 0 times: 100% for neon 1" in study.result
    with pytest.raises(LineaError, match="expected one of left, right, neither"):
        study.choose("left")


def test_another_study_goes_into_the_same_file(tmp_path):
    for choice in ("neither", "left"):
        study = Study(SIDES, ["a red heart"], [0], tmp_path / "choices.csv")
        study.choose(choice)
    lines = (tmp_path / "choices.csv").read_text().splitlines()
    assert len(lines) == 3
    assert [line.split(",")[-2] for line in lines[1:]] != ["left", "left"]


def test_the_interval_is_wilsons():
    for count, total in ((0, 5), (3, 8), (12, 16), (7, 7)):
        expected = binomtest(count, total).proportion_ci(method="wilson")
        assert wilson(count, total) == pytest.approx((expected.low, expected.high))


def test_a_window_compares_its_styles(bench, tmp_path):
    bench.study = study_of(bench, [("one", 1.0), ("two", 0.5)], ["a red heart"], 1)
    shown = study_value(bench)
    assert (shown["number"], shown["total"], shown["prompt"]) == (0, 1, "a red heart")
    assert shown["left"] != shown["right"]
    bench.study.choose("right")
    over = study_value(bench)
    assert "choices.csv" in over["status"]
    assert "left" not in over
    for sides, prompts, seeds in (
        ([("one", 1.0), ("one", 1.0)], ["a red heart"], 1), ([("one", 1.0), ("three", 1.0)], ["a red heart"], 1),
        ([("one", None), ("two", 1.0)], ["a red heart"], 1), ([("one", 1.0), ("two", 1.0)], [], 1),
        ([("one", 1.0), ("two", 1.0)], ["a red heart"], 100_000), ([("one", 1.0), (None, 1.0)], ["a red heart"], 1),
    ):  # fmt: skip
        with pytest.raises(LineaError, match="expected"):
            study_of(bench, sides, prompts, seeds)
