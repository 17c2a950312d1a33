"""A grid drawn as one picture: title, labels, pictures, scores and their colour bar; legible at any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageDraw

from ..errors import LineaError
from ..scoring.figures import SCORES, figure_of, names_in
from ..scoring.images.cells import INK, MUTED, PAPER, CellLayout, box_of, draw_cell, font_sizes, gap_of
from ..scoring.images.lettering import Color, draw_line, line_height, shorten, text_width, wrap
from .grid_scores import check_score
from .plans import Cell

if TYPE_CHECKING:
    from .rendered import RenderedGrid

ScorePlace = Literal["under", "on"]
SCORE_PLACES = ("under", "on")
SIZES = (16, 2048)
"""Sides that a cell may have, in pixels."""


@dataclass(frozen=True, kw_only=True)
class SheetLayout(CellLayout):
    """Where everything is, in pixels: cells, with labels above and left of them, and a footer of so much height."""

    width: int
    height: int
    footer: int


def draw_sheet(
    grid: RenderedGrid, *, cell_size: int, score: str | None, score_place: ScorePlace | None, colorbar: bool
) -> Image.Image:
    """The sheet as an RGB picture; the arguments are those of `StyleGrid.image`.

    Pictures are opened one after the other.
    """
    check_drawing(cell_size, score)
    name = _score_name(grid, score, score_place, colorbar)
    layout = _layout(grid, cell_size, name, score_place, colorbar)
    sheet = Image.new("RGB", (layout.width, layout.height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_heads(draw, grid, layout)
    scale = ColorScale([cell.scores[name] for cell in grid.cells if name in cell.scores]) if name and colorbar else None
    for number, row in enumerate(grid.rows):
        _draw_row_label(draw, grid.row_labels[number], number, layout)
        for column, cell in enumerate(row):
            _draw_cell(sheet, draw, cell, layout, (number, column), name, score_place, scale)
    if name and (score_place or scale):
        _draw_footer(sheet, draw, layout, name, score_place, scale)
    return sheet


class ColorScale:
    """Colours of a figure, from its least to its greatest value in a grid; cividis, which colour-blind eyes read alike.

    Args:
        values: all that there are.
    """

    def __init__(self, values: Sequence[float]) -> None:
        from matplotlib import colormaps

        self.low, self.high = min(values), max(values)
        self._colors = (np.array(colormaps["cividis"](np.linspace(0, 1, 256)))[:, :3] * 255).round().astype(np.uint8)

    def color(self, value: float) -> Color:
        """Of one value."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        red, green, blue = self._colors[round(255 * min(max(share, 0), 1))]
        return int(red), int(green), int(blue)

    def strip(self, width: int, height: int) -> Image.Image:
        """The scale as a strip, least at the left."""
        return Image.fromarray(self._colors[None]).resize((width, height))


def check_drawing(cell_size: int, score: str | None) -> None:
    """Whether some grid can be drawn so; whether a grid has the score is seen when it is drawn.

    Raises:
        LineaError: a side that is out of `SIZES`, or an unknown score.
    """
    check_size(cell_size)
    if score is not None:
        check_score(score)


def check_size(cell_size: int) -> None:
    """Whether a cell can have this side.

    Raises:
        LineaError: it is out of `SIZES`.
    """
    if not SIZES[0] <= cell_size <= SIZES[1]:
        raise LineaError(f"got cell_size={cell_size}: expected {SIZES[0]} to {SIZES[1]} pixels")


def _title_size(text: int) -> int:
    return round(1.25 * text)


def _score_name(grid: RenderedGrid, score: str | None, place: str | None, colorbar: bool) -> str | None:
    if place is not None and place not in SCORE_PLACES:
        raise LineaError(f"got score_place={place!r}: expected one of {', '.join(SCORE_PLACES)} or None")
    if score is not None or colorbar:
        name = score or next(iter(names_in(cell.scores for cell in grid.cells)), "")
        if not name:
            raise LineaError("got a colour bar for a grid that was not scored: call score first")
        check_score(name, grid.cells)
        return name
    return next(iter(names_in(cell.scores for cell in grid.cells)), None)


def _layout(grid: RenderedGrid, cell_size: int, name: str | None, place: str | None, colorbar: bool) -> SheetLayout:
    (text, small), gap = font_sizes(cell_size), gap_of(cell_size)
    cell = box_of(grid.rows[0][0].image, cell_size)
    widest = max(text_width(label, text) for label in grid.row_labels)
    left = math.ceil(min(widest, max(170, 1.2 * cell[0]))) + 3 * gap
    cells = CellLayout(
        cell=cell, text=text, small=small, gap=gap, left=left, top=gap,
        frame=max(3, cell_size // 40) if colorbar else 0,
        caption=line_height(small) + 2 if name and place == "under" else 0,
    )  # fmt: skip
    right, bottom = cells.corner(len(grid.rows), len(grid.column_labels))
    width = max(right + gap, 260)
    heads = _heads(grid, text, width - 2 * gap, cell[0] + gap)
    above = len(heads[0]) * line_height(_title_size(text)) + (len(heads[1]) + heads[3]) * line_height(text) + gap
    notes = len(_notes(name, place, small, width - 2 * gap)) * line_height(small) + gap if name else 0
    footer = (notes if place or colorbar else 0) + (line_height(small) + gap if colorbar else 0)
    more = {"top": gap + above, "width": width, "height": bottom + above + footer, "footer": footer}
    return SheetLayout(**{**asdict(cells), **more})


def _heads(
    grid: RenderedGrid, size: int, width: float, column: float
) -> tuple[list[str], list[str], list[list[str]], int]:
    """Lines of the title, of the columns' name and of each column's label, with the most lines of a label."""
    title = wrap(grid.title, size=_title_size(size), width=width, lines=2) if grid.title else []
    axis = [grid.strength_name] if grid.kind.endswith("x strengths") else []
    labels = [wrap(label, size=size, width=column, lines=2) for label in grid.column_labels]
    return title, axis, labels, max(map(len, labels))


def _draw_heads(draw: ImageDraw.ImageDraw, grid: RenderedGrid, layout: SheetLayout) -> None:
    size, step = layout.text, line_height(layout.text)
    title, axis, labels, deepest = _heads(grid, size, layout.width - 2 * layout.gap, layout.cell[0] + layout.gap)
    y = layout.gap
    for line in title:
        draw_line(draw, (layout.gap, y), line, size=_title_size(size), fill=INK)
        y += line_height(_title_size(size))
    first, last = (layout.place(0, column)[0] for column in (0, len(labels) - 1))
    for line in axis:
        middle = (first + last + layout.cell[0]) / 2
        draw_line(draw, (middle, y), line, size=size, fill=MUTED, align="center")
        y += step
    for column, lines in enumerate(labels):
        center = layout.place(0, column)[0] + layout.cell[0] / 2
        for number, line in enumerate(lines):
            offset = (number + deepest - len(lines)) * step
            draw_line(draw, (center, y + offset), line, size=size, fill=INK, align="center")


def _draw_row_label(draw: ImageDraw.ImageDraw, label: str, row: int, layout: SheetLayout) -> None:
    step = line_height(layout.text)
    room = max(1, (layout.cell[1] + layout.caption) // step)
    lines = wrap(label, size=layout.text, width=layout.left - 3 * layout.gap, lines=room)
    y = layout.place(row, 0)[1] + (layout.cell[1] - len(lines) * step) / 2
    for number, line in enumerate(lines):
        draw_line(draw, (layout.gap, max(y, layout.place(row, 0)[1]) + number * step), line, size=layout.text, fill=INK)


def _draw_cell(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    cell: Cell,
    layout: SheetLayout,
    position: tuple[int, int],
    name: str | None,
    place: str | None,
    scale: ColorScale | None,
) -> None:
    x, y = layout.place(*position)
    width, height = layout.cell
    value = cell.scores.get(name) if name else None
    text = "" if value is None else f"{value:.3f}"
    if scale is not None and value is not None:
        frame = layout.frame
        draw.rectangle((x - frame, y - frame, x + width + frame - 1, y + height + frame - 1), fill=scale.color(value))
    draw_cell(sheet, cell.image, layout, position, [(text, MUTED)] if text and place == "under" else ())
    if text and place == "on":
        wide, high = text_width(text, layout.small) + 6, line_height(layout.small) + 2
        draw.rectangle((x, y + height - high, x + wide, y + height - 1), fill=PAPER)
        draw_line(draw, (x + 3, y + height - high), text, size=layout.small, fill=INK)


def _notes(name: str | None, place: str | None, size: int, width: float) -> list[str]:
    """What the numbers and colours are, in words."""
    if not name:
        return []
    what = {"under": "Below each picture: ", "on": "On each picture: "}.get(place or "", "Frames: ")
    figure = figure_of(name) or SCORES[name]
    return wrap(f"{what}{figure.header}. {figure.meaning}", size=size, width=width, lines=4)


def _draw_footer(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    layout: SheetLayout,
    name: str,
    place: str | None,
    scale: ColorScale | None,
) -> None:
    y, size, gap = layout.height - layout.footer, layout.small, layout.gap
    if scale is not None:
        low, high = f"{scale.low:.3f}", f"{scale.high:.3f}"
        start = round(gap + text_width(low, size) + gap)
        width = max(16, min(240, layout.width - start - round(text_width(high, size)) - 2 * gap))
        draw_line(draw, (gap, y), low, size=size, fill=INK)
        sheet.paste(scale.strip(width, line_height(size)), (start, y))
        label = shorten(high, size=size, width=layout.width - start - width - gap)
        draw_line(draw, (start + width + gap, y), label, size=size, fill=INK)
        y += line_height(size) + gap
    for line in _notes(name, place, size, layout.width - 2 * gap):
        draw_line(draw, (gap, y), line, size=size, fill=MUTED)
        y += line_height(size)
