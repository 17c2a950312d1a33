"""Files of a grid: the picture with its recipe in its own metadata, and pictures as an image folder of `datasets`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import make_folder
from .plans import Cell
from .rendering import image_name

if TYPE_CHECKING:
    from .rendered import RenderedGrid
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import LineaError, reason
from ..images.opening import check_image_name, opened
from ..scoring.figures import SCORES

if TYPE_CHECKING:
    from .rendered import RenderedGrid


METADATA = "metadata.jsonl"


def save_images(grid: RenderedGrid, folder: Path, *, ending: str) -> None:
    """Save every picture under its row and column, and one line for each; the arguments are `StyleGrid.save_images`'s.

    Pictures are opened one after the other. Each says in its own metadata what it was made from.
    """
    make_folder(folder)
    lines = []
    for number, row in enumerate(grid.rows):
        for column, cell in enumerate(row):
            name = image_name(number, column, ending)
            save_picture(cell.image, folder / name, single_record(grid, cell))
            lines.append(_line(cell, name))
    (folder / METADATA).write_text("".join(lines), encoding="utf-8")


def _line(cell: Cell, name: str) -> str:
    return json.dumps({"file_name": name, **cell_record(cell)}, ensure_ascii=False) + "\n"


_TEXTS = ("title", "kind", "style", "prompt", "method", "asked", "software", "model", "pipeline", "device", "scorer")
_DESCRIPTION = 0x010E
"""The EXIF field that WebP and JPEG files keep the record in."""


def cell_record(cell: Cell) -> dict[str, Any]:
    """A cell without its picture, as JSON holds it."""
    record: dict[str, Any] = {
        "prompt": cell.prompt, "seed": cell.seed, "strength": cell.strength, "strengths": cell.strengths,
        "style": cell.style, "method": cell.method, "asked": cell.asked,
    }  # fmt: skip
    return {**record, "scores": {name: cell.scores.get(name) for name in SCORES}}


def grid_record(grid: RenderedGrid) -> dict[str, Any]:
    """A grid without its pictures, as JSON holds it."""
    used = [name for name in SCORES if any(name in cell.scores for cell in grid.cells)]
    return {
        "title": grid.title,
        "kind": grid.kind,
        "style": grid.style,
        "rows": grid.row_labels,
        "columns": grid.column_labels,
        "prompts": [row[0].prompt for row in grid.rows],
        "seeds": [row[0].seed for row in grid.rows],
        "strengths": [[cell.strengths or cell.strength for cell in row] for row in grid.rows],
        "scores": {name: [[cell.scores.get(name) for cell in row] for row in grid.rows] for name in used},
        "conventions": {name: SCORES[name].convention for name in used},
        **_facts(grid),
    }


def single_record(grid: RenderedGrid, cell: Cell) -> dict[str, Any]:
    """One picture of a grid, as JSON holds it, with what it was made with."""
    conventions = {name: SCORES[name].convention for name in cell.scores}
    return {**cell_record(cell), "conventions": conventions, **_facts(grid)}


def _facts(grid: RenderedGrid) -> dict[str, Any]:
    versions = grid.facts.get("library_versions", {})
    software = f"linea-diffusion {versions['linea-diffusion']}" if "linea-diffusion" in versions else ""
    return {"software": software, **grid.facts}


def save_picture(image: Image.Image, path: Path, record: dict[str, Any]) -> None:
    """Save a picture with its record: text chunks of a PNG, one for each entry; an EXIF description elsewhere.

    Raises:
        LineaError: a name of no known format, a place that cannot be written, or a record too long for a JPEG.
    """
    check_image_name(path)
    make_folder(path.parent)
    try:
        if path.suffix.lower() == ".png":
            image.save(path, pnginfo=_chunks(record))
            return
        exif = Image.Exif()
        exif[_DESCRIPTION] = json.dumps(record)
        quality: dict[str, Any] = {"lossless": True} if path.suffix.lower() == ".webp" else {"quality": 95}
        image.save(path, exif=exif, **quality)
    except (OSError, ValueError) as error:
        raise LineaError(
            f"got {str(path)!r}, which cannot be saved ({reason(error)}): expected a writable file, and a picture "
            "small enough for its format; PNG holds any"
        ) from None


def _chunks(record: dict[str, Any]) -> PngInfo:
    """A text chunk for each entry: texts as they are, other things as JSON."""
    info = PngInfo()
    for key, value in record.items():
        if value is not None:
            text = value if key in _TEXTS else json.dumps(value, ensure_ascii=False)
            info.add_itxt(key, text, zip=len(text) > 1000)
    return info


def read_record(path: str | Path) -> dict[str, Any]:
    """The record of a picture or animation that a grid saved; empty if it has none.

    Raises:
        LineaError: no picture, or one whose text is none of a grid's.
    """
    try:
        with opened(path) as image:
            image.load()
            if image.format == "PNG":
                texts = getattr(image, "text", {})
                return {key: text if key in _TEXTS else json.loads(text) for key, text in texts.items()}
            return dict(json.loads(image.info.get("comment") or image.getexif().get(_DESCRIPTION, "{}")))
    except (OSError, ValueError) as error:
        raise LineaError(f"got {str(path)!r}: expected a picture that a grid saved ({reason(error)})") from None
