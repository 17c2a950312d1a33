"""The one door for a user's pictures: found, opened, and brought into RGB as they are meant to be seen."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import ExifTags, Image, ImageColor, ImageOps, UnidentifiedImageError

from ...concepts.files import open_regular
from ...errors import LineaError, reason

ENDINGS = {".png", ".jpg", ".jpeg", ".webp"}
"""Formats that are read and written."""

_BROKEN = (
    OSError, ValueError, SyntaxError, RuntimeError, EOFError, MemoryError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises on files that are damaged, cut off, no pictures, or far larger than they look."""
_DEEP = re.compile(r";(16|32)[A-Z]+")


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The named files, and the pictures (PNG, JPEG, WebP) in the named folders, sorted within each.

    Hidden files of a folder, such as the ``._x.png`` that macOS puts beside ``x.png``, are no pictures.

    Raises:
        LineaError: a path that does not exist, a folder that cannot be read, or no picture at all.
    """
    files: list[Path] = []
    for path in paths:
        if not os.path.exists(path):  # unlike Path.exists, also for names that no file can have
            raise LineaError(f"got {str(path)!r}: expected an existing picture or folder")
        files += _inside(path) if path.is_dir() else [path]
    if not files:
        raise LineaError(
            f"got {', '.join(map(str, paths))}: expected at least one picture ({', '.join(sorted(ENDINGS))})"
        )
    return files


def _inside(folder: Path) -> list[Path]:
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise LineaError(f"got folder {str(folder)!r}: expected a readable one ({reason(error)})") from None
    return [
        file for file in files if file.suffix.lower() in ENDINGS and not file.name.startswith(".") and not file.is_dir()
    ]


def check_image_name(path: Path) -> None:
    """Whether a picture can be saved under this name.

    Raises:
        LineaError: an ending of no known format.
    """
    if path.suffix.lower() not in ENDINGS:
        raise LineaError(f"got {str(path)!r}: expected a file name ending in one of {', '.join(sorted(ENDINGS))}")


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """A picture file while the context lasts, as Pillow has it: not loaded, in its own mode.

    Raises:
        LineaError: a file that is not a picture, also where that shows only within the context.
    """
    with open_regular(path, what="picture") as file:
        try:
            with Image.open(file) as image:
                yield image
        except LineaError:
            raise
        except UnidentifiedImageError:
            raise LineaError(f"got {str(path)!r}: expected a picture that Pillow reads") from None
        except _BROKEN as error:
            raise LineaError(f"got {str(path)!r}: expected a picture that Pillow reads ({reason(error)})") from None


def open_images(paths: Sequence[str | Path], *, background: str | None = None) -> list[Image.Image]:
    """The pictures in RGB, see `as_rgb`; of an animation the first frame.

    Raises:
        LineaError: a file that is not a picture, or one that `as_rgb` refuses.
    """
    images = []
    for path in paths:
        name = f"picture {str(path)!r}"
        with opened(path) as image:
            _refuse_deep(image, name)  # Pillow cuts some to 8 bits as it loads them
            image.load()
            images.append(as_rgb(image, background=background, name=name))
    return images


def open_mask(path: str | Path) -> Image.Image:
    """A picture that says by its light where something is done; what is transparent in it is black.

    Raises:
        LineaError: see `open_images`.
    """
    return open_images([path], background="black")[0].convert("L")


def as_rgb(image: Image.Image, *, background: str | None = None, name: str = "a picture") -> Image.Image:
    """A picture in RGB with 8 bits, turned upright as its EXIF data say; the picture itself if it is that.

    Args:
        image: in any mode.
        background: colour that a picture with transparency is pasted on, as Pillow names colours.
        name: of the picture, for errors.

    Raises:
        LineaError: transparency without a background, or more than 8 bits a channel, which would be lost.
    """
    _refuse_deep(image, name)
    try:
        image = _upright(image)
        if image.has_transparency_data:
            image = _flat(image.convert("RGBA"), background, name)
        return image if image.mode == "RGB" else image.convert("RGB")
    except LineaError:
        raise
    except ValueError:
        raise LineaError(f"got {name} of mode {image.mode}: expected one that Pillow turns into RGB") from None


def _refuse_deep(image: Image.Image, name: str) -> None:
    if image.mode[0] in "IF" or any(_DEEP.search(str(tile[3])) for tile in getattr(image, "tile", ())):
        raise LineaError(f"got {name} with more than 8 bits a channel: expected 8; scale it to 8-bit RGB first")


def check_color(color: str) -> None:
    """Whether Pillow knows a colour.

    Raises:
        LineaError: it does not.
    """
    try:
        ImageColor.getrgb(color)
    except (ValueError, TypeError, AttributeError):
        raise LineaError(f"got colour {color!r}: expected one such as white or #808080") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _BROKEN:  # data that cannot be read say nothing, as in every viewer
        return image
    return ImageOps.exif_transpose(image) if turned in range(2, 9) else image


def _flat(image: Image.Image, background: str | None, name: str) -> Image.Image:
    """An RGBA picture without its alpha."""
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    if background is None:
        raise LineaError(
            f"got {name} with transparency: expected one without; paste it on a background first (for scores: "
            "--clip-set background=white)"
        )
    below = Image.new("RGB", image.size, background).convert("RGBA")
    return Image.alpha_composite(below, image).convert("RGB")
