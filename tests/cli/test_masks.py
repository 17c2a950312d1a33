"""`--mask` in commands that make pictures, and `mask` in jobs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

FEW = ("--steering", "neon", "--steps", 2, "--seed", 5)


@pytest.fixture
def mask(tmp_path, monkeypatch):
    """White on the left, clear on the right."""
    monkeypatch.chdir(tmp_path)
    picture = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    picture.paste((255, 255, 255, 255), (0, 0, 4, 8))
    picture.save("mask.png")
    return "mask.png"


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), int)


def test_generate_and_grid(linea, mask):
    assert linea("generate", "a red heart", *FEW, "--strength", "0,1", "--out", "x.png")[0] == 0
    assert linea("generate", "a red heart", *FEW, "--strength", 1, "--mask", mask, "--out", "half.png")[0] == 0
    plain, full, half = map(pixels, ("x-0.png", "x-1.png", "half.png"))
    assert np.abs(half[:, :32] - full[:, :32]).max() <= 1
    assert (np.abs(half[:, 32:] - plain[:, 32:]) <= 1).all()
    assert np.abs(full[:, 32:] - plain[:, 32:]).mean() > 1
    grid = ("--strengths", "0,1", "--images", "single", "--mask", mask, "--out", "grid")
    code, _, errors = linea("grid", "a red heart", *FEW, *grid)
    assert code == 0, errors
    code, _, errors = linea("generate", "a red heart", *FEW, "--mask", "none.png", "--out", "y.png")
    assert code != 0
    assert "none.png" in errors
    assert linea("generate", "a red heart", *FEW, "--mask", mask, "--masking", "latents", "--out", "y.png")[0] != 0
    code, _, errors = linea("generate", "a red heart", *FEW, "--masking", "activations", "--out", "y.png")
    assert code != 0
    assert "no --mask" in errors


def test_jobs(linea, mask, tmp_path):
    lines = [
        {"prompt": "a red heart", "masking": "activations"},  # of no mask, and so the same picture as without
        {"prompt": "a red heart", "mask": mask},
        {"prompt": "a red heart"},
    ]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert linea("batch", "jobs.jsonl", *FEW, "--strength", 1, "--out", "images")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "images" / "metadata.jsonl").read_text().splitlines()]
    full, half = (pixels(f"images/{row['file_name']}") for row in rows)
    assert np.abs(half[:, :32] - full[:, :32]).max() <= 1
    assert np.abs(half[:, 32:] - full[:, 32:]).mean() > 1
    Image.open(mask).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mask)  # another picture is another image
    assert "2 images" in linea("batch", "jobs.jsonl", *FEW, "--strength", 1, "--out", "images")[1]
    again = [json.loads(line) for line in (tmp_path / "images" / "metadata.jsonl").read_text().splitlines()]
    assert again[0]["file_name"] == rows[0]["file_name"]
    assert again[1]["file_name"] != rows[1]["file_name"]
