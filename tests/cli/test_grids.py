"""`linea grid` with every kind of rows and every option, and `linea score` with lists and references."""

from __future__ import annotations

import csv
import json

import pytest
from PIL import Image

from linea_diffusion.scoring.images.saving import read_record

FEW = ("--strengths", "0,1", "--steps", 1)


@pytest.fixture(scope="module")
def folders(random_maps, tmp_path_factory):
    """Two sets of maps of one concept and one of another."""
    place = tmp_path_factory.mktemp("maps")
    for name, concept, maps in (
        ("neon", "neon", random_maps),
        ("sparse", "neon", random_maps),
        ("tiles", "mosaic", -1 * random_maps),
    ):
        one = 1.0 * maps
        if name == "sparse":
            for number, parameter in enumerate(one.parameters()):
                parameter.data.mul_(number % 2)
        one.metadata.update(concept=concept, text=f"a picture in {concept} style", neutral="a picture of something")
        one.save_pretrained(place / name)
    return place


def table(folder):
    return list(csv.DictReader((folder / "scores.csv").open()))


KINDS = {
    "prompts": (("a blue fish",), ("neon",), ["a red heart", "a blue fish"]),
    "seeds": (("--rows", "seeds", "--seeds", "4,9"), ("neon",), ["seed 4", "seed 9"]),
    "styles": (("--rows", "styles"), ("neon", "tiles"), ["neon", "mosaic"]),
    "sparsity": (("--rows", "sparsity"), ("sparse", "neon"), ["100% of the numbers", "50% of the numbers"]),
    "methods": (("--rows", "methods", "--in-words"), ("neon",), ["neon", "in words (words: on or off)"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_rows(linea, folders, tmp_path, kind):
    more, steering, labels = KINDS[kind]
    sources = [part for name in steering for part in ("--steering", folders / name)]
    code, out, err = linea("grid", "a red heart", *more, *sources, *FEW, "--out", tmp_path / "g")
    assert code == 0, err
    rows = table(tmp_path / "g")
    assert list(dict.fromkeys(row["row"] for row in rows)) == labels
    assert [row["column"] for row in rows] == ["0", "1"] * 2
    record = read_record(tmp_path / "g" / "grid.png")
    assert record["kind"] == f"{kind} x strengths"
    assert len({*record["maps"].values()}) == len(steering)
    assert "spearman (rank correlation): mean over rows" in out


def test_a_second_dial(linea, folders, tmp_path):
    dials = ("--steering", folders / "neon", "--against", f"other={folders / 'tiles'}", "--row-strengths", "0,0.5,1")
    code, _, err = linea("grid", "a red heart", *dials, *FEW, "--out", tmp_path)
    assert code == 0, err
    strengths = [json.loads(row["strengths"]) for row in table(tmp_path)]
    assert strengths == [{"other": a, "neon": b} for a in (0, 0.5, 1) for b in (0, 1)]
    assert {row["style"] for row in table(tmp_path)} == {"other"}


def test_everything_that_can_be_written(linea, folders, tmp_path):
    code, out, err = linea(
        "grid", "a red heart", "--steering", folders / "neon", *FEW, "--out", tmp_path, "--cell-size", 48,
        "--score", "clip_style_probability", "--score-place", "on", "--colorbar", "--format", "webp", "--batch-size", 1,
        "--animate", tmp_path / "deep" / "a.gif", "--images", tmp_path / "single",
    )  # fmt: skip
    assert code == 0, err
    assert Image.open(tmp_path / "deep" / "a.gif").n_frames == 2
    lines = [json.loads(line) for line in (tmp_path / "single" / "metadata.jsonl").read_text().splitlines()]
    assert [line["strength"] for line in lines] == [0, 1]
    assert lines[1]["scores"]["clip_style_cosine"] is not None
    assert Image.open(tmp_path / "grid.webp").width < 400
    assert "a.gif" in out


def test_drawing_options_change_the_grid(linea, folders, tmp_path):
    options = {
        "plain": (), "score": ("--score", "clip_prompt_cosine"), "none": ("--score-place", "none"),
        "bar": ("--colorbar",),
        "size": ("--cell-size", 96), "unscored": ("--clip", "none"),
    }  # fmt: skip
    seen = set()
    for name, option in options.items():
        common = ("--steering", folders / "neon", *FEW, "--out", tmp_path / name)
        assert linea("grid", "a red heart", *common, *option)[0] == 0
        image = Image.open(tmp_path / name / "grid.png")
        seen.add((image.size, image.tobytes()))
    assert len(seen) == len(options) - 1, "without a score it is as without a place for one"
    assert table(tmp_path / "unscored")[0]["clip_style_cosine"] == ""


BAD = {
    "unknown rows": (("--rows", "colours"), "expected one of prompts, seeds"),
    "seeds without rows of seeds": (("--seeds", "1,2"), "got --seeds for a grid of prompts"),
    "seeds that are no numbers": (("--rows", "seeds", "--seeds", "a"), "whole numbers"),
    "words without methods": (("--in-words",), "got --in-words"),
    "row strengths without a dial": (("--row-strengths", "1"), "got --row-strength "),
    "rows and a dial": (("--rows", "styles", "--against", "MAPS"), "got --rows"),
    "the same dial twice": (("--against", "MAPS"), "under different names"),
    "two prompts for styles": (("b", "--rows", "styles"), "got 2 prompts"),
    "unknown score": (("--score", "clip_style_cosin"), "nearest: clip_style_cosine"),
    "unknown place": (("--score-place", "left"), "under, on, none"),
    "cells too small": (("--cell-size", "4"), "16 to 2048"),
    "unknown format": (("--format", "bmp"), "png, webp, jpg"),
    "animation of no format": (("--animate", "a.mp4"), ".gif or .webp"),
    "animation of one strength": (("--animate", "a.gif", "--strengths", "1"), "2 columns to move"),
    "colour bar without scores": (("--clip", "none", "--colorbar"), "no --clip"),
    "score without CLIP": (("--clip", "none", "--score", "clip_style_cosine"), "got --score and no --clip"),
    "unknown setting of CLIP": (("--clip-set", "size=3"), "KEY one of"),
    "setting of CLIP without a value": (("--clip-set", "dtype=int3"), "float32"),
    "batches of nothing": (("--batch-size", "0"), "at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_line(linea, folders, tmp_path, case):
    more, message = BAD[case]
    arguments = [str(folders / "neon") if part == "MAPS" else part for part in more]
    code, _, err = linea("grid", "a red heart", "--steering", folders / "neon", "--out", tmp_path / "g", *arguments)
    lines = [line for line in err.splitlines() if line.startswith("linea: ")]
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "g").exists() or not any((tmp_path / "g").iterdir())


def test_a_prompt_too_long_to_score_is_told_before_rendering(linea, folders, tmp_path):
    code, _, err = linea("grid", "a red heart, " * 30, "--steering", folders / "neon", "--out", tmp_path / "g")
    assert code == 2
    assert "expected at most 24" in err
    assert "picture/s" not in err


def test_score_of_a_grids_images_with_references_and_settings(linea, folders, tmp_path):
    grid = ("--steering", folders / "neon", *FEW, "--out", tmp_path / "g", "--images", tmp_path / "images")
    assert linea("grid", "a red heart", "a blue fish", *grid)[0] == 0
    options = ("--text", "a picture in neon style", "--reference", tmp_path / "images" / "000-000.png")
    code, out, err = linea("score", tmp_path / "images", *options, "--out", tmp_path / "t.jsonl")
    assert code == 0, err
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["a red heart"] * 2 + ["a blue fish"] * 2
    header = "clip_prompt_cosine"
    assert [row[header] for row in rows] == pytest.approx(
        [float(row[header]) for row in table(tmp_path / "g")], abs=2e-5
    )
    mean = sum(row[header] for row in rows) / 4
    assert f"{header} (raw cosine): mean {mean:.5f}"[:-1] in out
    code, rounded, err = linea("score", tmp_path / "images", *options, "--clip-set", "dtype=bfloat16")
    assert code == 0
    assert "mean" in err, "standard output is the table's"
    values = [float(row[header]) for row in csv.DictReader(rounded.splitlines())]
    assert values == pytest.approx([row[header] for row in rows], abs=0.02)
    assert values != [row[header] for row in rows]


def test_scores_carry_what_lines_say_and_conventions_stand_beside(linea, folders, tmp_path):
    grid = ("--steering", folders / "neon", *FEW, "--out", tmp_path / "g", "--images", tmp_path / "images")
    assert linea("grid", "a red heart", *grid, "--seed", 7)[0] == 0
    assert (tmp_path / "images" / ".metadata.columns.json").is_file()
    assert linea("score", tmp_path / "images", "--text", "a picture in neon style", "--out", tmp_path / "t.csv")[0] == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(row["style"], float(row["strength"]), int(row["seed"])) for row in rows] == [
        ("neon", 0, 7),
        ("neon", 1, 7),
    ]
    for name in ("t.columns.json", "g/scores.columns.json"):
        told = json.loads((tmp_path / name).read_text())["columns"]
        assert told["clip_style_cosine"]["convention"] == "raw cosine"
        assert told["strength"]["meaning"]


def test_a_second_dial_is_scored_for_both_styles_without_a_rank_correlation(linea, folders, tmp_path):
    both = ("--steering", folders / "neon", "--against", folders / "tiles")
    code, out, err = linea("grid", "a red heart", *both, *FEW, "--out", tmp_path / "g", "--plots", "pdf")
    assert code == 0, err
    assert "CLIP, style: neon" in out
    assert "CLIP, style: mosaic" in out
    assert "spearman" not in out
    assert (tmp_path / "g" / "plots" / "clip_style_cosine_mosaic-against-strength.pdf").is_file()
    rows = table(tmp_path / "g")
    assert [(row["strength.mosaic"], row["strength.neon"]) for row in rows][1:3] == [("0.0", "1.0"), ("1.0", "0.0")]


def test_score_needs_something_to_score_by(linea, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    code, _, err = linea("score", tmp_path)
    assert code == 2
    assert "no text" in err
    assert "ending in .csv or .jsonl" in linea("score", tmp_path, "--text", "x", "--out", tmp_path / "t.txt")[2]
