"""The single pictures of a grid in a folder, beside a ``metadata.jsonl``: what `datasets` calls an image folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage import make_folder
from .cells import Cell
from .records import cell_record, save_picture, single_record
from .rendering import image_name

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
