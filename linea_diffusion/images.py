"""Finding and opening pictures that a user names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from .errors import LineaError

ENDINGS = {".png", ".jpg", ".jpeg", ".webp"}
"""Formats that are read and written."""


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The named files, and the pictures (PNG, JPEG, WebP) in the named folders, sorted within each.

    Raises:
        LineaError: a path that does not exist, or no picture at all.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise LineaError(f"got {str(path)!r}: expected an existing picture or folder")
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS) if path.is_dir() else [path]
        found += inside
    if not found:
        raise LineaError(
            f"got {', '.join(map(str, paths))}: expected at least one picture ({', '.join(sorted(ENDINGS))})"
        )
    return found


def check_image_name(path: Path) -> None:
    """Whether a picture can be saved under this name.

    Raises:
        LineaError: an ending of no known format.
    """
    if path.suffix.lower() not in ENDINGS:
        raise LineaError(f"got {str(path)!r}: expected a file name ending in one of {', '.join(sorted(ENDINGS))}")


def open_images(paths: Sequence[Path]) -> list[Image.Image]:
    """The pictures as RGB.

    Raises:
        LineaError: a file that is not a picture.
    """
    images = []
    for path in paths:
        try:
            with Image.open(path) as image:
                images.append(image.convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise LineaError(f"got {str(path)!r}: expected a picture that Pillow reads ({error})") from None
    return images


def as_rgb(image: Image.Image) -> Image.Image:
    """A picture in RGB with 8 bits; the picture itself if it is that.

    Raises:
        LineaError: transparency, or more than 8 bits a channel, which would be lost.
    """
    if image.mode == "RGB":
        return image
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise LineaError("got a picture with transparency: expected one without; paste it on a background first")
    if image.mode[0] in "IF":
        raise LineaError(f"got a picture of mode {image.mode!r}: expected 8 bits a channel; scale it to RGB first")
    return image.convert("RGB")
