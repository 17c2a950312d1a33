"""Pictures as people have them: each kind of file comes out as it is meant to be seen, or is refused by name."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from linea_diffusion.batch.jobs.input_images import open_picture, picture_digest
from linea_diffusion.errors import LineaError
from linea_diffusion.grids.report.inline_images import data_uri
from linea_diffusion.scoring.images.opening import as_rgb, check_color, find_images, open_images
from linea_diffusion.scoring.images.saving import read_record

ORIENTATION = 0x0112
CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]], [[80, 80, 80], [200, 200, 0]]], np.uint8)


STORED = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2),
    6: np.rot90(CORNERS),
    7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(CORNERS, -1),
}
"""EXIF orientation -> how a camera that is held so stores the picture."""


@pytest.mark.parametrize("turned", STORED)
def test_pictures_are_upright_as_exif_says(tmp_path, turned):
    stored = Image.fromarray(np.ascontiguousarray(STORED[turned]))
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    stored.save(tmp_path / "x.png", exif=exif)
    assert (np.asarray(open_images([tmp_path / "x.png"])[0]) == CORNERS).all()
    assert (np.asarray(open_picture(str(tmp_path / "x.png"))) == CORNERS).all()
    with Image.open(tmp_path / "x.png") as image:  # as somebody hands it to a ClipScorer
        assert (np.asarray(as_rgb(image)) == CORNERS).all()


def test_exif_that_cannot_be_read_turns_nothing(tmp_path):
    Image.fromarray(CORNERS).save(tmp_path / "x.png", exif=b"Exif\0\0broken")
    assert (np.asarray(open_images([tmp_path / "x.png"])[0]) == CORNERS).all()


def test_every_mode_comes_out_in_rgb(tmp_path):
    indexed = Image.new("P", (4, 4), 1)
    indexed.putpalette([0, 0, 0, 10, 20, 30])
    kinds = {
        "grey.png": (Image.new("L", (4, 4), 77), (77, 77, 77)),
        "bit.png": (Image.new("1", (4, 4), 1), (255, 255, 255)),
        "palette.png": (indexed, (10, 20, 30)),
        "ink.tiff": (Image.new("CMYK", (4, 4), (255, 0, 0, 0)), (0, 255, 255)),
        "solid.png": (Image.new("RGBA", (4, 4), (1, 2, 3, 255)), (1, 2, 3)),
    }
    for name, (image, color) in kinds.items():
        image.save(tmp_path / name)
        picture = open_images([tmp_path / name])[0]
        assert (picture.mode, picture.getpixel((3, 3))) == ("RGB", color)


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    for name in ("x.gif", "x.webp", "x.png"):
        frames[0].save(
            tmp_path / name, save_all=True, append_images=frames[1:], **({} if "gif" in name else {"lossless": True})
        )
        assert open_images([tmp_path / name])[0].getpixel((2, 2)) == (255, 0, 0)


def transparent_pictures():
    half = Image.new("P", (4, 4), 1)
    half.putpalette([0, 0, 0, 10, 20, 30])
    return {
        "alpha.png": (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), {}),
        "grey-alpha.png": (Image.new("LA", (4, 4), (9, 0)), {}),
        "palette.png": (half, {"transparency": 1}),
        "color.png": (Image.new("RGB", (4, 4), (255, 0, 0)), {"transparency": (255, 0, 0)}),
        "grey.png": (Image.new("L", (4, 4), 3), {"transparency": 3}),
    }


@pytest.mark.parametrize("name", transparent_pictures())
def test_transparency_needs_a_background(tmp_path, name):
    image, saved = transparent_pictures()[name]
    image.save(tmp_path / name, **saved)
    with pytest.raises(LineaError, match=rf"got picture .*{name}' with transparency: expected .* background"):
        open_images([tmp_path / name])
    with pytest.raises(LineaError, match=name):
        open_picture(str(tmp_path / name))
    assert open_images([tmp_path / name], background="#0000ff")[0].getpixel((0, 0)) == (0, 0, 255)


def test_half_transparent_is_mixed_with_the_background():
    mixed = as_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 51)), background="white").getpixel((0, 0))
    assert mixed == (255, 204, 204)
    check_color("white")
    for color in ("no colour", 5, None):
        with pytest.raises(LineaError, match="expected one such as white"):
            check_color(color)


def deep_png(color_type: int, channels: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow itself does not write in colour."""
    rows = b"".join(b"\0" + np.full((2, channels), 40000, ">u2").tobytes() for _ in range(2))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, color_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_more_than_8_bits_are_refused(tmp_path, color_type, channels):
    (tmp_path / "deep.png").write_bytes(deep_png(color_type, channels))
    with pytest.raises(LineaError, match=r"deep\.png' with more than 8 bits a channel"):
        open_images([tmp_path / "deep.png"], background="white")


def test_pictures_are_found_without_hidden_files_and_folders(tmp_path):
    for name in ("b.png", "A.JPG", "._b.png", ".DS_Store", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert find_images([tmp_path]) == [tmp_path / "A.JPG", tmp_path / "b.png"]
    for name in ("gone.png", "x" * 5000, "nul\0.png"):
        with pytest.raises(LineaError, match="expected an existing picture or folder"):
            find_images([tmp_path / name])


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    size = struct.pack(">II", 60000, 60000)
    head = b"IHDR" + size + data[24:29]
    huge = data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    for content in (b"", b"no picture", data[:100], data[: len(data) // 2], huge):
        (tmp_path / "bad.png").write_bytes(content)
        for door in (open_images, lambda paths: read_record(paths[0])):
            with pytest.raises(LineaError, match=r"bad\.png") as caught:
                door([tmp_path / "bad.png"])
            assert "\n" not in str(caught.value)


def test_a_pipe_does_not_wait_and_a_device_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero", tmp_path):
        for door in (lambda path: open_images([path]), lambda path: picture_digest(str(path)), read_record):
            with pytest.raises(LineaError, match="regular file"):
                door(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_are_pictures_or_an_error_of_ours(tmp_path_factory, data):
    ending = data.draw(st.sampled_from(["png", "jpg", "webp", "gif", "bmp"]))
    file = tmp_path_factory.mktemp("damaged") / f"x.{ending}"
    Image.fromarray(CORNERS).save(file)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(LineaError):
        assert open_images([file], background="white")[0].mode == "RGB"


def test_a_report_leaves_its_pictures_alone():
    image = Image.new("RGB", (900, 700))
    data_uri(image)
    assert image.size == (900, 700)
    assert data_uri(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))[0] == data_uri(Image.new("RGB", (4, 4), "white"))[0]
