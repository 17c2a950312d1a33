"""The contact sheet of a batch: every image with its words, in whatever script."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from linea_diffusion import LineaError
from linea_diffusion.batch.contact_sheet import write_sheet
from linea_diffusion.scoring.images.cells import PAPER

PROMPTS = ["a red heart", "一颗红色的心在蓝天下", "длинный текст " * 30, "x" * 200, ""]


@pytest.fixture
def folder(tmp_path):
    lines = []
    for number, prompt in enumerate(PROMPTS):
        Image.new("RGB", (64, 48), (200, 40 * number, 20)).save(tmp_path / f"{number}.png")
        row = {"file_name": f"{number}.png", "prompt": prompt, "steering": ["maps/neon"], "strength": [0.5]}
        lines.append(json.dumps({**row, "seed": number}) + "\n")
    (tmp_path / "metadata.jsonl").write_text("".join(lines))
    return tmp_path


def test_every_image_is_there_with_its_words(folder):
    assert write_sheet(folder, folder / "deep" / "sheet.png") == len(PROMPTS)
    with Image.open(folder / "deep" / "sheet.png") as image:
        sheet = np.asarray(image.convert("RGB")).astype(int)
    for number, prompt in enumerate(PROMPTS):
        rows, columns = np.nonzero((sheet == (200, 40 * number, 20)).all(axis=-1))
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (96, 128)
        # the square of 128 pixels ends 16 below the picture; three lines of prompt and one of facts follow
        below = sheet[rows.max() + 18 :, columns.min() : columns.max() + 1][:60]
        lines = [np.abs(below[15 * line : 15 * line + 15] - PAPER).max() > 100 for line in range(4)]
        assert sum(lines) >= (2 if prompt else 1), prompt


def test_a_large_batch_shows_its_first(folder):
    assert write_sheet(folder, folder / "sheet.jpg", most=2) == 2
    with Image.open(folder / "sheet.jpg") as image:
        assert image.width < 400


def test_what_cannot_be_is_refused(folder, tmp_path_factory):
    with pytest.raises(LineaError, match="without images"):
        write_sheet(tmp_path_factory.mktemp("empty"), folder / "sheet.png")
    (folder / "file").write_text("")
    with pytest.raises(LineaError, match="expected"):
        write_sheet(folder, folder / "file" / "sheet.png")
