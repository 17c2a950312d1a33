"""What saved files say of themselves: records in pictures, image folders, animations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from linea_diffusion import LineaError, StyleGrid
from linea_diffusion.grids import animation
from linea_diffusion.grids.plans import Cell
from linea_diffusion.scoring.images import cells
from linea_diffusion.scoring.images.saving import read_record

FACTS = {"model": "shapeland-unet", "maps": {"a": "0f" * 32}, "library_versions": {"linea-diffusion": "0.1.0"}}
COLORS = ["#c02020", "#20c020", "#2020c0"]


@pytest.fixture
def grid():
    rows = [
        [
            Cell(
                prompt,
                i / 2,
                3,
                Image.new("RGB", (40, 40), color),
                {"a": i / 2},
                "neon",
                scores={"clip_style_cosine": i / 10},
            )
            for i, color in enumerate(COLORS)
        ]
        for prompt in ("a red heart", "сердце 心 😀", "42")
    ]
    return StyleGrid(rows, style="neon", facts=FACTS)


@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
def test_a_grid_says_what_it_was_made_from(grid, tmp_path, ending):
    grid.save(tmp_path / f"grid.{ending}", cell_size=48)
    record = read_record(tmp_path / f"grid.{ending}")
    assert record["prompts"] == ["a red heart", "сердце 心 😀", "42"]
    assert record["seeds"] == [3, 3, 3]
    assert record["strengths"][0] == [{"a": 0}, {"a": 0.5}, {"a": 1}]
    assert record["scores"] == {"clip_style_cosine": [[0, 0.1, 0.2]] * 3}
    assert record["conventions"] == {"clip_style_cosine": "raw cosine"}
    assert {key: record[key] for key in FACTS} == FACTS
    assert record["software"] == "linea-diffusion 0.1.0"
    assert (record["title"], record["kind"]) == ("neon", "prompts x strengths")


def test_png_has_a_text_chunk_for_each(grid, tmp_path):
    grid.save(tmp_path / "grid.png")
    texts = Image.open(tmp_path / "grid.png").text
    assert {"prompts", "seeds", "strengths", "maps", "model", "library_versions", "software", "conventions"} <= set(
        texts
    )
    assert texts["model"] == "shapeland-unet"
    assert json.loads(texts["maps"]) == FACTS["maps"]


def test_webp_is_lossless(grid, tmp_path):
    grid.save(tmp_path / "grid.webp", cell_size=48)
    assert Image.open(tmp_path / "grid.webp").convert("RGB").tobytes() == grid.image(cell_size=48).tobytes()


@pytest.mark.parametrize("ending", [".png", ".webp"])
def test_an_image_folder_has_every_picture_and_a_line_for_each(grid, tmp_path, ending):
    grid.save_images(tmp_path / "deep" / "images", ending=ending)
    folder = tmp_path / "deep" / "images"
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert len(lines) == 9
    for line, cell in zip(lines, grid.cells, strict=True):
        assert Image.open(folder / line["file_name"]).convert("RGB").tobytes() == cell.image.tobytes()
        assert (line["prompt"], line["seed"], line["strengths"]) == (cell.prompt, cell.seed, cell.strengths)
        assert {k: v for k, v in line["scores"].items() if v is not None} == cell.scores
    assert len({tuple(line) for line in lines}) == len({tuple(line["scores"]) for line in lines}) == 1, "one schema"
    one = read_record(folder / lines[8]["file_name"])
    assert (one["prompt"], one["strength"], one["maps"]) == ("42", 1, FACTS["maps"])


def test_a_folder_that_a_grid_was_rendered_into_gets_its_lines(grid, tmp_path):
    grid.save_images(tmp_path / "x")
    for number, cell in enumerate(grid.cells):
        cell.picture = tmp_path / "x" / f"{number // 3:03d}-{number % 3:03d}.png"
        cell.scores["clip_prompt_cosine"] = 0.5
    grid.save_images(tmp_path / "x")
    lines = [json.loads(line) for line in (tmp_path / "x" / "metadata.jsonl").read_text().splitlines()]
    assert {line["scores"]["clip_prompt_cosine"] for line in lines} == {0.5}
    assert len([one for one in (tmp_path / "x").iterdir() if not one.name.startswith(".")]) == 10


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_an_animation_moves_through_the_columns_and_back(grid, tmp_path, ending):
    grid.save_animation(tmp_path / f"a.{ending}", cell_size=64, duration=100)
    grid.save_animation(tmp_path / f"once.{ending}", cell_size=64, duration=250, bounce=False)
    with Image.open(tmp_path / f"a.{ending}") as there, Image.open(tmp_path / f"once.{ending}") as once:
        assert (there.n_frames, once.n_frames) == (4, 3)
        seen = []
        for frame in range(4):
            there.seek(frame)
            there.load()
            assert there.info["duration"] == 100
            seen.append(there.convert("RGB").getpixel((20, there.height - 60)))
        once.load()
        assert once.info["duration"] == 250
    expected = [Image.new("RGB", (1, 1), COLORS[i]).getpixel((0, 0)) for i in (0, 1, 2, 1)]
    assert np.abs(np.array(seen) - np.array(expected)).max() < 12
    assert read_record(tmp_path / f"a.{ending}")["prompts"][1] == "сердце 心 😀"


def test_frames_are_drawn_one_after_the_other(grid, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(cells, "fit_into", lambda image, box: (opened.append(1), image.resize(box))[1])
    frames = animation._frames(grid, [0, 1, 2], 48)
    next(frames)
    assert len(opened) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.png", {}, "gif or .webp"),
        ("a.gif", {"duration": 0}, "20 milliseconds"),
        ("a.gif", {"cell_size": 1}, "16 to"),
    ],
)
def test_animations_that_make_no_sense_are_refused(grid, tmp_path, name, options, message):
    with pytest.raises(LineaError, match=message):
        grid.save_animation(tmp_path / name, **options)


def test_files_that_cannot_be_saved_or_read_are_an_error(grid, tmp_path):
    with pytest.raises(LineaError, match="ending in one of"):
        grid.save(tmp_path / "grid.bmp")
    (tmp_path / "file").write_text("")
    with pytest.raises(LineaError, match="writable"):
        grid.save(tmp_path / "file" / "grid.png")
    with pytest.raises(LineaError, match="a picture that a grid or a batch saved"):
        read_record(tmp_path / "file")
    grid.row_labels = ["x" * 70000] * 3
    with pytest.raises(LineaError, match="PNG holds any"):
        grid.save(tmp_path / "grid.jpg", cell_size=16)
    grid.save(tmp_path / "grid.png", cell_size=16)
    assert len(read_record(tmp_path / "grid.png")["rows"][0]) == 70000
