"""Pictures with a record inside: what is written, and that it is read again, also as others wrote it."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from linea_diffusion import LineaError
from linea_diffusion.scoring.images.saving import encode, read_record, save

RECORD = {"prompt": "42", "seeds": [1, 2], "title": "сердце 心 😀", "maps": {"a": "0f"}, "long": "x" * 2000}


@pytest.fixture
def image():
    return Image.linear_gradient("L").resize((40, 30)).convert("RGB")


@pytest.mark.parametrize("ending", ["png", "webp", "jpg", "jpeg", "PNG"])
@pytest.mark.parametrize("one_text", [False, True])
def test_a_record_comes_back(image, tmp_path, ending, one_text):
    path = tmp_path / "deep" / f"a.{ending}"
    save(image, path, RECORD)
    assert read_record(path) == RECORD
    path.write_bytes(encode(image, ending.lower(), RECORD, one_text=one_text))
    assert read_record(path) == RECORD
    if ending.lower() in ("png", "webp"):
        assert Image.open(path).convert("RGB").tobytes() == image.tobytes()


def test_a_png_has_a_text_for_each_entry_or_one_for_all(image, tmp_path):
    save(image, tmp_path / "a.png", {**RECORD, "asked": None})
    texts = Image.open(tmp_path / "a.png").text
    assert texts.keys() == RECORD.keys()
    assert (texts["prompt"], json.loads(texts["seeds"])) == ("42", [1, 2])
    (tmp_path / "b.png").write_bytes(encode(image, "png", RECORD, one_text=True))
    assert json.loads(Image.open(tmp_path / "b.png").text["linea"]) == RECORD


def test_quality_is_a_choice_for_webp(image):
    assert encode(image, "webp", {}) != encode(image, "webp", {}, lossless=False)


def test_files_of_other_hands_are_read(image, tmp_path):
    info = PngInfo()
    info.add_text("linea", json.dumps(RECORD))
    image.save(tmp_path / "a.png", pnginfo=info)
    exif = Image.Exif()
    exif[0x010E] = json.dumps(RECORD)
    image.save(tmp_path / "a.jpg", exif=exif)
    image.save(tmp_path / "bare.jpg")
    assert read_record(tmp_path / "a.png") == read_record(tmp_path / "a.jpg") == RECORD
    assert read_record(tmp_path / "bare.jpg") == {}
    exif[0x010E] = "a photograph"
    image.save(tmp_path / "photo.jpg", exif=exif)
    with pytest.raises(LineaError, match="expected a picture that a grid or a batch saved"):
        read_record(tmp_path / "photo.jpg")


def test_what_cannot_be_saved_is_refused(image, tmp_path):
    with pytest.raises(LineaError, match="ending in one of"):
        save(image, tmp_path / "a.bmp", {})
    with pytest.raises(LineaError, match="PNG holds any"):
        save(image, tmp_path / "a.jpg", {"rows": "x" * 70000})
    assert not (tmp_path / "a.jpg").exists()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(LineaError, match="writable"):
        save(image, tmp_path / "folder.png", {})
