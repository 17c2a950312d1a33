"""Pictures of one size in rows and columns, each with a caption below it: where all of it is, and the drawing of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .lettering import Color, draw_line, line_height
from .opening import as_rgb

INK, MUTED, PAPER = (28, 30, 36), (96, 100, 110), (255, 255, 255)

CaptionLine = tuple[str, Color]
"""A line of a caption."""


@dataclass(frozen=True, kw_only=True)
class CellLayout:
    """Where everything is, in pixels.

    Attributes:
        cell: width and height of a picture.
        text: font size of labels.
        small: font size of captions.
        gap: between pictures.
        left: of the first picture's frame.
        top: likewise.
        caption: height of what is below each picture.
        frame: around each picture.
    """

    cell: tuple[int, int]
    text: int
    small: int
    gap: int
    left: int
    top: int
    caption: int = 0
    frame: int = 0

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """The upper left corner of a picture's frame; the first row and column beyond all are where the sheet ends."""
        wide, high = (side + 2 * self.frame + self.gap for side in self.cell)
        return self.left + column * wide, self.top + row * (high + self.caption)

    def place(self, row: int, column: int) -> tuple[int, int]:
        """The upper left corner of a picture."""
        x, y = self.corner(row, column)
        return x + self.frame, y + self.frame


def draw_cell(
    sheet: Image.Image,
    image: Image.Image,
    layout: CellLayout,
    position: tuple[int, int],
    caption: Sequence[CaptionLine] = (),
) -> None:
    """Draw a picture at its (row, column), and the lines of its caption centred below it."""
    (x, y), (width, height) = layout.place(*position), layout.cell
    sheet.paste(fit_into(image, layout.cell), (x, y))
    draw = ImageDraw.Draw(sheet)
    for number, (line, color) in enumerate(caption):
        below = y + height + layout.frame + 1 + number * line_height(layout.small)
        draw_line(draw, (x + width / 2, below), line, size=layout.small, fill=color, align="center")


def draw_cells(
    sheet: Image.Image, cells: Iterable[tuple[Image.Image, Sequence[CaptionLine]]], layout: CellLayout, columns: int
) -> None:
    """Draw pictures with their captions one after the other, in rows of so many columns."""
    for number, (image, caption) in enumerate(cells):
        draw_cell(sheet, image, layout, divmod(number, columns), caption)


def fit_into(image: Image.Image, box: tuple[int, int]) -> Image.Image:
    """A picture fitted into a box: enlarged without smoothing when the factor is whole."""
    image = as_rgb(image, background="white")
    scale = min(box[0] / image.width, box[1] / image.height)
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    is_multiple = scale >= 1 and float(scale).is_integer()
    resized = image.resize(shape, Image.Resampling.NEAREST if is_multiple else Image.Resampling.LANCZOS)
    if shape == box:
        return resized
    boxed = Image.new("RGB", box, PAPER)
    boxed.paste(resized, ((box[0] - shape[0]) // 2, (box[1] - shape[1]) // 2))
    return boxed


def box_of(image: Image.Image, cell_size: int) -> tuple[int, int]:
    """Width and height of cells whose longer side is `cell_size`, in the shape of a picture."""
    longest = max(image.size)
    return max(1, round(image.width * cell_size / longest)), max(1, round(image.height * cell_size / longest))


def font_sizes(cell_size: int) -> tuple[int, int]:
    """Of labels and of captions, in pixels: in proportion to the cells, but never too small to read."""
    return min(max(cell_size // 12, 12), 48), min(max(cell_size // 15, 10), 40)


def gap_of(cell_size: int) -> int:
    """Between cells, in pixels."""
    return max(4, cell_size // 20)
