"""A grid as an animation over its columns: all rows side by side, while the dial turns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from ..errors import LineaError, make_folder, reason
from .files import grid_record
from .lettering import draw_line, line_height, shorten, wrap
from .sheet import INK, PAPER, box_of, check_size, fit, font_sizes

if TYPE_CHECKING:
    from .rendered import RenderedGrid

ENDINGS = (".gif", ".webp")
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
    record = json.dumps(grid_record(grid))
    try:
        next(frames).save(
            path, save_all=True, append_images=frames, duration=duration, loop=0, **_format(path, record)
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise LineaError(
            f"got {str(path)!r}, which cannot be saved ({reason(error)}): expected another place"
        ) from None


def check_animation(path: Path, columns: int, duration: int = 400) -> None:
    """Whether so many columns can become such a file.

    Raises:
        LineaError: another ending, fewer than two columns, or no time for a frame.
    """
    if path.suffix.lower() not in ENDINGS:
        raise LineaError(f"got {str(path)!r}: expected a file name ending in {' or '.join(ENDINGS)}")
    if columns < 2 or duration < 20:
        raise LineaError(
            f"got {columns} columns and duration={duration}: expected at least 2 columns to move through, and 20 "
            "milliseconds for each"
        )


def _format(path: Path, record: str) -> dict[str, Any]:
    if path.suffix.lower() == ".gif":
        return {"comment": record.encode(), "optimize": False, "disposal": 1}
    exif = Image.Exif()
    exif[0x010E] = record
    return {"exif": exif, "quality": 90, "method": 4}


def _frames(grid: RenderedGrid, order: list[int], cell_size: int) -> Iterator[Image.Image]:
    """The frames, one after the other."""
    text, small = font_sizes(cell_size)
    box = box_of(grid.rows[0][0].image, cell_size)
    gap = max(4, cell_size // 20)
    across = math.ceil(math.sqrt(len(grid.rows)))
    down = math.ceil(len(grid.rows) / across)
    lines = 2 * line_height(small)
    head = 2 * line_height(text) + 3 * gap
    width = max(across * (box[0] + gap) + gap, 200)
    size = (width, head + down * (box[1] + lines + gap))
    for column in order:
        frame = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(frame)
        _draw_head(draw, grid, column, width, text, gap)
        for number, row in enumerate(grid.rows):
            x = gap + number % across * (box[0] + gap)
            y = head + number // across * (box[1] + lines + gap)
            frame.paste(fit(row[column].image, box), (x, y))
            label = wrap(grid.row_labels[number], size=small, width=box[0], lines=2)
            for line, part in enumerate(label):
                place = (x + box[0] / 2, y + box[1] + 1 + line * line_height(small))
                draw_line(draw, place, part, size=small, fill=INK, align="center")
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
