"""Which maps act on which model, under which names: --steering, --model and named strengths, alike in all commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linea_diffusion import LinEASDiffusionPipeline, SteeringMaps

STEPS = ("--steps", 1)


@pytest.fixture
def styles(random_maps, tmp_path):
    """Two styles on disk, in folders that are not called like them."""
    for folder, concept, maps in (("first", "neon", random_maps), ("second", "mosaic", -1.0 * random_maps)):
        facts = {"concept": concept, "base_model": "shapeland-unet", "text": f"a {concept} picture", "neutral": "any"}
        SteeringMaps.of(dict(maps.named_maps()), facts).save_pretrained(tmp_path / folder)
    return "--steering", tmp_path / "first", "--steering", tmp_path / "second"


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=float)


def test_two_styles_have_a_strength_each(linea, styles, tmp_path):
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet")
    for folder in ("first", "second"):
        pipe.load_steering(tmp_path / folder)
    (expected,) = pipe("a heart", strength={"neon": 0.6, "mosaic": 0.3}, num_inference_steps=1,
                       generator=_seeded(0)).images  # fmt: skip
    out = ("--out", tmp_path / "x.png")
    for names in ("neon=0.6,mosaic=0.3", "first=0.6, second=0.3"):
        assert linea("generate", "a heart", *styles, "--strength", names, *STEPS, *out)[0] == 0
        assert np.abs(_pixels(tmp_path / "x.png") - np.asarray(expected, dtype=float)).max() <= 1, names


def test_a_style_turns_while_another_stays(linea, styles, tmp_path):
    out = ("--out", tmp_path / "out" / "x.png")
    assert linea("generate", "a heart", *styles, "--strength", "neon=0:1:2,mosaic=0.3", *STEPS, *out)[0] == 0
    names = sorted(path.stem for path in (tmp_path / "out").iterdir())
    assert names == ["x-neon0-mosaic0.3", "x-neon1-mosaic0.3"]
    grid = ("--clip", "none", *STEPS, "--out", tmp_path / "grid")
    assert linea("grid", "a heart", *styles, "--strength", "neon=0:1:2,mosaic=0.3", *grid)[0] == 0
    rows = list(csv.DictReader((tmp_path / "grid" / "scores.csv").open()))
    assert [(row["column"], row["strength"]) for row in rows] == [
        ("neon 0, mosaic 0.3", "0"),
        ("neon 1, mosaic 0.3", "1"),
    ]
    (tmp_path / "jobs.txt").write_text("a heart\n")
    batch = ("--log", "none", *STEPS, "--out", tmp_path / "batch")
    assert linea("batch", tmp_path / "jobs.txt", *styles, "--strength", "neon=0:1:2,mosaic=0.3", *batch)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "batch" / "metadata.jsonl").read_text().splitlines()]
    assert [set(one["steering"]) for one in lines] == [{"neon", "mosaic"}] * 2


@pytest.mark.parametrize(
    ("strength", "message"),
    [
        ("neon=0.6,0.3", "as NAME=NUMBER"),
        ("neon=0.6,neon=0.3", "each style once"),
        ("neon=0:1:2,mosaic=0:1:3", "have 2 and 3 positions"),
        ("nion=0.6", "got adapter 'nion': expected one of neon, mosaic; nearest: neon"),
    ],
)
def test_bad_names_are_told_before_a_model_is_loaded(linea, styles, tmp_path, strength, message):
    nowhere = ("--model", tmp_path / "nowhere", "--out", tmp_path / "out" / "x.png")
    code, _, error = linea("generate", "a heart", *styles, "--strength", strength, *nowhere)
    assert code == 2
    assert message in error


def test_rows_of_one_style_each_take_numbers_only(linea, styles):
    code, _, error = linea("grid", "a heart", *styles, "--rows", "styles", "--strength", "neon=0:1:2")
    assert (code, "whose rows turn one style each" in error) == (2, True)


def test_maps_of_one_concept_are_called_by_their_folders_and_two_of_one_name_are_refused(linea, styles, tmp_path):
    (tmp_path / "deep").mkdir()
    for folder in ("third", "deep/third"):
        SteeringMaps.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / folder)
    sets = ("--steering", tmp_path / "first", "--steering", tmp_path / "third")
    rows = ("--rows", "methods", "--strength", "0,1", "--clip", "none", *STEPS, "--out", tmp_path / "grid")
    assert linea("grid", "a heart", *sets, *rows)[0] == 0
    rows = list(csv.DictReader((tmp_path / "grid" / "scores.csv").open()))
    assert list(dict.fromkeys(row["method"] for row in rows)) == ["first", "third"]
    twice = ("--steering", tmp_path / "third", "--steering", tmp_path / "deep/third")
    code, _, error = linea("generate", "a heart", *twice, "--out", tmp_path / "x.png")
    assert (code, "NAME=FOLDER" in error) == (2, True)


def test_texts_of_ones_own_are_scored_against(linea, random_maps, tmp_path):
    SteeringMaps.of(dict(random_maps.named_maps()), {}).save_pretrained(tmp_path / "silent")
    call = (
        "grid",
        "a heart",
        "--steering",
        tmp_path / "silent",
        "--strength",
        "0,1",
        *STEPS,
        "--out",
        tmp_path / "grid",
    )
    scores = []
    for texts in (("--text", "a picture in neon style"), ("--text", "a drawing", "--neutral", "a star")):
        assert linea(*call, *texts)[0] == 0
        rows = list(csv.DictReader((tmp_path / "grid" / "scores.csv").open()))
        scores.append([(row["clip_style_cosine"], row["clip_style_probability"]) for row in rows])
    assert scores[0] != scores[1]
    code, _, error = linea(*call, "--neutral", "a star")
    assert (code, "without --text" in error) == (2, True)


def test_maps_know_their_model(linea, styles, tmp_path):
    facts = {"concept": "other", "base_model": "shapeland-dit"}
    SteeringMaps({"transformer.norm_out": 4}, metadata=facts).save_pretrained(tmp_path / "dit")
    both = ("--steering", tmp_path / "first", "--steering", tmp_path / "dit")
    code, _, error = linea("generate", "a heart", *both, "--out", tmp_path / "x.png")
    assert code == 2
    assert "neon of shapeland-unet, other of shapeland-dit: expected maps of one model, or --model" in error
    alone = ("--steering", tmp_path / "first", "--model", "shapeland-dit")
    code, _, error = linea("generate", "a heart", *alone, "--out", tmp_path / "x.png")
    assert code == 2
    assert "neon was learned on shapeland-unet and steers shapeland-dit" in error
    assert "got maps of shapeland-unet whose module" in error
    assert "is not in shapeland-dit (StableDiffusion3Pipeline)" in error


def test_steering_alone_means_those_maps_alone(linea, styles, tmp_path):
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet")
    pipe.load_steering(tmp_path / "second")
    pipe.save_pretrained(tmp_path / "saved")
    call = ("--model", tmp_path / "saved", "--guidance", 1, *STEPS, "--out", tmp_path / "x.png")
    _, _, error = linea("generate", "a heart", *call)
    assert f"steering that came with {tmp_path / 'saved'}: mosaic; without --strength acts mosaic at 1.0" in error
    brought = _pixels(tmp_path / "x.png")
    _, _, error = linea("generate", "a heart", *styles[:2], *call)
    assert f"steering that came with {tmp_path / 'saved'} rests: mosaic" in error
    alone = _pixels(tmp_path / "x.png")
    call = ("--guidance", 1, *STEPS, "--out", tmp_path / "x.png")
    linea("generate", "a heart", *styles[:2], *call)
    assert np.abs(alone - _pixels(tmp_path / "x.png")).max() <= 1
    assert np.abs(alone - brought).max() > 20


def test_a_curve_over_the_schedule_in_every_command(linea, styles, tmp_path):
    steps, curve = ("--steps", 2), ("--strength-curve", "0:0,0.6:1")
    for folder, more in (("plain", ()), ("curved", curve)):
        out = ("--out", tmp_path / folder / "x.png")
        assert linea("generate", "a heart", *styles[:2], *steps, *more, *out)[0] == 0
    assert np.abs(_pixels(tmp_path / "plain/x.png") - _pixels(tmp_path / "curved/x.png")).max() > 5
    grid = ("--strength", "0,1", "--clip", "none", "--images", tmp_path / "images", "--out", tmp_path / "grid")
    assert linea("grid", "a heart", *styles[:2], *steps, *curve, *grid)[0] == 0
    (tmp_path / "jobs.jsonl").write_text(
        '{"prompt": "a heart", "strength_curve": "0:0,0.6:1"}\n{"prompt": "a heart"}\n'
    )
    batch = ("--log", "none", *steps, "--out", tmp_path / "batch")
    assert linea("batch", tmp_path / "jobs.jsonl", *styles[:2], *batch)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "batch" / "metadata.jsonl").read_text().splitlines()]
    pictures = [_pixels(tmp_path / "batch" / line["file_name"]) for line in lines]
    assert np.abs(pictures[0] - _pixels(tmp_path / "curved/x.png")).max() <= 1
    assert np.abs(pictures[1] - _pixels(tmp_path / "plain/x.png")).max() <= 1
    assert linea("batch", tmp_path / "jobs.jsonl", *styles[:2], *batch)[1].startswith("0 images made")


def _seeded(seed: int):
    import torch

    return torch.Generator("cpu").manual_seed(seed)
