"""Pictures saved with what they were made from inside: in the texts of a PNG, the EXIF description of WebP and JPEG."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from ...errors import LineaError, make_folder, reason
from .opening import check_image_name, opened

_ONE = "linea"
"""Keyword of the PNG text that has a whole record."""
_TEXTS = ("title", "kind", "style", "prompt", "method", "asked", "software", "model", "pipeline", "device", "scorer")
"""Entries that stand in a PNG as they are, not as JSON."""
_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
_QUALITY = 95


def save(image: Image.Image, path: str | Path, record: Mapping[str, Any]) -> None:
    """Save a picture in the format of its ending, without loss where that can be, with its record inside.

    Args:
        image: in any mode that the format knows.
        path: where to; the folder is made.
        record: entries that JSON can hold; `read_record` reads them.

    Raises:
        LineaError: a name of no known format, a place that cannot be written, or a record too long for a JPEG.
    """
    path = Path(path)
    check_image_name(path)
    make_folder(path.parent)
    data = encode(image, path.suffix[1:].lower(), record)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise LineaError(f"got {str(path)!r}: expected a writable place for a picture ({reason(error)})") from None


def encode(
    image: Image.Image, ending: str, record: Mapping[str, Any], *, lossless: bool = True, one_text: bool = False
) -> bytes:
    """The bytes of an image file that carries a record.

    Args:
        image: in any mode that the format knows.
        ending: ``png``, ``jpg``, ``jpeg`` or ``webp``.
        record: entries that JSON can hold.
        lossless: of WebP; otherwise its quality is that of a JPEG.
        one_text: a PNG has the record as one text, instead of one for each entry.

    Raises:
        LineaError: the format cannot hold it.
    """
    file = io.BytesIO()
    try:
        if ending == "png":
            image.save(file, "PNG", pnginfo=_one_text(record) if one_text else _texts(record))
        else:
            look: dict[str, Any] = {"lossless": True} if ending == "webp" and lossless else {"quality": _QUALITY}
            image.save(file, _FORMATS[ending], exif=description(record), **look)
    except (OSError, ValueError) as error:
        raise LineaError(
            f"got a picture that cannot be written as {ending} ({reason(error)}): expected one that is small enough "
            "for the format, and a short record; PNG holds any"
        ) from None
    return file.getvalue()


def description(record: Mapping[str, Any]) -> Image.Exif:
    """EXIF data whose description is a record as JSON; without one where there is no record."""
    exif = Image.Exif()
    if record:
        exif[ExifTags.Base.ImageDescription] = json.dumps(record)
    return exif


def read_record(path: str | Path) -> dict[str, Any]:
    """The record inside of a picture or an animation; empty if it has none.

    Raises:
        LineaError: no picture, or one whose text is no record.
    """
    try:
        with opened(path) as image:
            image.load()
            if image.format != "PNG":
                text = image.info.get("comment") or image.getexif().get(ExifTags.Base.ImageDescription, "{}")
                return dict(json.loads(text))
            texts = getattr(image, "text", {})
            if _ONE in texts:
                return dict(json.loads(texts[_ONE]))
            return {key: text if key in _TEXTS else json.loads(text) for key, text in texts.items()}
    except (OSError, ValueError, TypeError) as error:
        raise LineaError(
            f"got {str(path)!r}: expected a picture that a grid or a batch saved ({reason(error)})"
        ) from None


def _texts(record: Mapping[str, Any]) -> PngInfo:
    """A text for each entry: texts as they are, other things as JSON."""
    info = PngInfo()
    for key, value in record.items():
        if value is not None:
            text = value if key in _TEXTS else json.dumps(value, ensure_ascii=False)
            info.add_itxt(key, text, zip=len(text) > 1000)
    return info


def _one_text(record: Mapping[str, Any]) -> PngInfo:
    info = PngInfo()
    info.add_text(_ONE, json.dumps(record))
    return info
