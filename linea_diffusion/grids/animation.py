"""A grid as an animation over its columns: all rows side by side, while the dial turns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from ..errors import LineaError, make_folder, reason
from ..scoring.images.cells import INK, PAPER, CellLayout, box_of, draw_cells, font_sizes, gap_of
from ..scoring.images.lettering import draw_line, line_height, shorten, wrap
from ..scoring.images.saving import description
from .image_folder import grid_record
from .sheet import check_size

if TYPE_CHECKING:
    from .rendered import RenderedGrid

ANIMATION_ENDINGS = (".gif", ".webp")
_ACCENT, _TRACK = (0, 90, 181), (222, 224, 230)


def save_animation(grid: RenderedGrid, path: Path, *, cell_size: int, duration: int, bounce: bool) -> None:
    """Save a GIF or WebP that shows one column after the other; the arguments are `StyleGrid.save_animation`'s.

    Raises:
        LineaError: another ending, fewer than two columns, no time for a frame, or a place that cannot be written.
    """
    check_animation(path, len(grid.column_labels), duration)
    check_size(cell_size)
    make_folder(path.parent)
    columns = list(range(len(grid.column_labels)))
    order = columns + columns[-2:0:-1] if bounce else columns
    frames = _frames(grid, order, cell_size)
    look = _format(path, grid_record(grid))
    try:
        next(frames).save(path, save_all=True, append_images=frames, duration=duration, loop=0, **look)
    except (OSError, ValueError) as error:
        raise LineaError(
            f"got {str(path)!r}, which cannot be saved ({reason(error)}): expected another place"
        ) from None


def check_animation(path: Path, columns: int, duration: int = 400) -> None:
    """Whether so many columns can become such a file.

    Raises:
        LineaError: another ending, fewer than two columns, or no time for a frame.
    """
    if path.suffix.lower() not in ANIMATION_ENDINGS:
        raise LineaError(f"got {str(path)!r}: expected a file name ending in {' or '.join(ANIMATION_ENDINGS)}")
    if columns < 2 or duration < 20:
        raise LineaError(
            f"got {columns} columns and duration={duration}: expected at least 2 columns to move through, and 20 "
            "milliseconds for each"
        )


def _format(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    if path.suffix.lower() == ".gif":
        return {"comment": json.dumps(record).encode(), "optimize": False, "disposal": 1}
    return {"exif": description(record), "quality": 90, "method": 4}


def _frames(grid: RenderedGrid, order: list[int], cell_size: int) -> Iterator[Image.Image]:
    """The frames, one after the other."""
    (text, small), gap = font_sizes(cell_size), gap_of(cell_size)
    cell = box_of(grid.rows[0][0].image, cell_size)
    layout = CellLayout(
        cell=cell, text=text, small=small, gap=gap, left=gap, top=2 * line_height(text) + 3 * gap,
        caption=2 * line_height(small),
    )  # fmt: skip
    across = math.ceil(math.sqrt(len(grid.rows)))
    right, bottom = layout.corner(math.ceil(len(grid.rows) / across), across)
    labels = [wrap(label, size=small, width=cell[0], lines=2) for label in grid.row_labels]
    captions = [[(line, INK) for line in lines] for lines in labels]
    for column in order:
        frame = Image.new("RGB", (max(right, 200), bottom), PAPER)
        _draw_head(ImageDraw.Draw(frame), grid, column, frame.width, text, gap)
        images = (row[column].image for row in grid.rows)
        draw_cells(frame, zip(images, captions, strict=True), layout, across)
        yield frame


def _draw_head(draw: ImageDraw.ImageDraw, grid: RenderedGrid, column: int, width: int, size: int, gap: int) -> None:
    """Title, the column's label, and a bar that shows where on the dial it is."""
    if grid.title:
        draw_line(draw, (gap, gap), shorten(grid.title, size=size, width=width - 2 * gap), size=size, fill=INK)
    label = grid.column_labels[column]
    label = f"{grid.strength_name} {label}" if grid.kind.endswith("x strengths") else label
    y = gap + line_height(size)
    draw_line(draw, (gap, y), shorten(label, size=size, width=width - 2 * gap), size=size, fill=INK)
    y += line_height(size) + gap // 2
    share = column / (len(grid.column_labels) - 1)
    draw.rectangle((gap, y, width - gap, y + 3), fill=_TRACK)
    draw.rectangle((gap, y, gap + share * (width - 2 * gap), y + 3), fill=_ACCENT)
