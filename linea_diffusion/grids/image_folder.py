"""Files of a grid: what its pictures say of themselves, and its pictures as an image folder of `datasets`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import make_folder
from ..scoring.figures import columns_for, conventions_of, names_in
from ..scoring.images.saving import save
from ..scoring.tables import write_conventions
from .plans import Cell

if TYPE_CHECKING:
    from .rendered import RenderedGrid

METADATA = "metadata.jsonl"


def save_images(grid: RenderedGrid, folder: Path, *, ending: str) -> None:
    """Save every picture under its row and column, and one line for each; the arguments are `StyleGrid.save_images`'s.

    Pictures are opened one after the other. Each says in its own metadata what it was made from.
    """
    make_folder(folder)
    lines, names = [], columns_for(cell.scores for cell in grid.cells)
    for number, row in enumerate(grid.rows):
        for column, cell in enumerate(row):
            name = cell_file(number, column, ending)
            save(cell.image, folder / name, single_record(grid, cell))
            lines.append(_line(cell, name, names))
    (folder / METADATA).write_text("".join(lines), encoding="utf-8")
    write_conventions(folder / METADATA, ["prompt", "style", "method", "strength", "seed", *names], hidden=True)


def cell_file(row: int, column: int, ending: str = ".png") -> str:
    """The file of a cell in a folder of single images."""
    return f"{row:03d}-{column:03d}{ending}"


def _line(cell: Cell, name: str, names: Iterable[str]) -> str:
    return json.dumps({"file_name": name, **cell_record(cell, names)}, ensure_ascii=False) + "\n"


def cell_record(cell: Cell, names: Iterable[str]) -> dict[str, Any]:
    """A cell without its picture, as JSON holds it, with the figures of these names."""
    record: dict[str, Any] = {
        "prompt": cell.prompt, "seed": cell.seed, "strength": cell.strength, "strengths": cell.strengths,
        "style": cell.style, "method": cell.method, "asked": cell.asked,
    }  # fmt: skip
    return {**record, "scores": {name: cell.scores.get(name) for name in names}}


def grid_record(grid: RenderedGrid) -> dict[str, Any]:
    """A grid without its pictures, as JSON holds it."""
    used = names_in(cell.scores for cell in grid.cells)
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
        "conventions": conventions_of(used),
        **_facts(grid),
    }


def single_record(grid: RenderedGrid, cell: Cell) -> dict[str, Any]:
    """One picture of a grid, as JSON holds it, with what it was made with."""
    return {
        **cell_record(cell, columns_for(cell.scores for cell in grid.cells)),
        "conventions": conventions_of(cell.scores),
        **_facts(grid),
    }


def _facts(grid: RenderedGrid) -> dict[str, Any]:
    versions = grid.facts.get("library_versions", {})
    software = f"linea-diffusion {versions['linea-diffusion']}" if "linea-diffusion" in versions else ""
    return {"software": software, **grid.facts}
