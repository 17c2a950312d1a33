"""A contact sheet: small copies of the first images of a batch, each with its prompt, strengths and seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from ..errors import LineaError
from ..scoring.images.cells import INK, MUTED, PAPER, CaptionLine, CellLayout, draw_cells, font_sizes, gap_of
from ..scoring.images.lettering import draw_line, line_height, shorten, wrap
from ..scoring.images.opening import opened
from ..scoring.images.saving import save
from .folder.columns import strengths_in
from .folder.lines import parsed

MOST_SHOWN = 200
"""Images on a sheet; a larger batch shows its first."""
_SIDE, _LINES = 128, 3


def write_sheet(out: str | Path, path: str | Path, *, most: int = MOST_SHOWN) -> int:
    """Write a contact sheet of the images of a batch, in the order of ``metadata.jsonl``.

    Args:
        out: folder of the batch.
        path: the picture to write; its ending chooses the format.
        most: how many images it may show.

    Returns:
        How many it shows.

    Raises:
        LineaError: there are none, or the sheet cannot be written.
    """
    metadata = Path(out) / "metadata.jsonl"
    with metadata.open("rb") if metadata.exists() else nullcontext(()) as lines:
        rows = [row for row in map(parsed, islice(lines, most)) if row is not None]
        total = len(rows) + sum(1 for _ in lines)
    if not rows:
        raise LineaError(f"got {str(out)!r} without images: expected the folder of a batch")
    save(_drawn(Path(out), rows, total), path, {})
    return len(rows)


def _drawn(out: Path, rows: Sequence[dict[str, Any]], total: int) -> Image.Image:
    (text, _), gap = font_sizes(_SIDE), 2 * gap_of(_SIDE)
    layout = CellLayout(
        cell=(_SIDE, _SIDE), text=text, small=text, gap=gap, left=gap, top=line_height(text) + 2 * gap,
        caption=(_LINES + 1) * line_height(text),
    )  # fmt: skip
    columns = min(len(rows), max(2, round(len(rows) ** 0.5 * 1.3)))
    sheet = Image.new("RGB", layout.corner(-(-len(rows) // columns), columns), PAPER)
    shown = f"{total} images" if total == len(rows) else f"the first {len(rows)} of {total} images"
    draw_line(ImageDraw.Draw(sheet), (gap, gap), shown, size=text, fill=INK)
    draw_cells(sheet, _cells(out, rows, layout), layout, columns)
    return sheet


def _cells(
    out: Path, rows: Sequence[dict[str, Any]], layout: CellLayout
) -> Iterator[tuple[Image.Image, Sequence[CaptionLine]]]:
    """Images, opened one after the other, with their captions."""
    for row in rows:
        lines = wrap(row["prompt"], size=layout.small, width=_SIDE, lines=_LINES)
        facts = shorten(_facts(row), size=layout.small, width=_SIDE)
        with opened(out / row["file_name"]) as image:
            image.draft("RGB", layout.cell)
            yield image, [*((line, INK) for line in lines), (facts, MUTED)]


def _facts(row: dict[str, Any]) -> str:
    styles = (f"{Path(name).name} {strength:g}" for name, strength in strengths_in(row).items())
    return ", ".join([*styles, f"seed {row['seed']}"])
