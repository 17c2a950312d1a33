"""A contact sheet: small copies of the first images of a batch, each with its prompt, strengths and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..errors import LineaError, reason
from ..scoring.images import as_rgb, opened
from .folder.layout import Layout
from .folder.lines import read_lines

MOST = 200
"""Images on a sheet; a larger batch shows its first."""
_SIDE, _GAP, _TEXT = 128, 12, 12
_LINES = 3
_INK, _MUTED, _PAPER = (28, 30, 36), (110, 114, 124), (255, 255, 255)


def write_sheet(out: str | Path, path: str | Path, *, most: int = MOST) -> int:
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
    rows = [row for _, row in islice(read_lines(Layout(out).metadata), most) if row is not None]
    if not rows:
        raise LineaError(f"got {str(out)!r} without images: expected the folder of a batch")
    total = sum(1 for _ in read_lines(Layout(out).metadata))
    sheet = _drawn(Path(out), rows, total)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise LineaError(f"got {str(path)!r}: expected to write a picture there ({reason(error)})") from None
    return len(rows)


def _drawn(out: Path, rows: Sequence[Mapping[str, Any]], total: int) -> Image.Image:
    font, title = ImageFont.load_default(_TEXT), ImageFont.load_default(_TEXT + 2)
    columns = min(len(rows), max(2, round(len(rows) ** 0.5 * 1.3)))
    step_x, step_y = _SIDE + _GAP, _SIDE + (_LINES + 1) * (_TEXT + 3) + _GAP
    top = 2 * _GAP + _TEXT
    size = (_GAP + columns * step_x, top + -(-len(rows) // columns) * step_y)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    shown = f"{total} images" if total == len(rows) else f"the first {len(rows)} of {total} images"
    draw.text((_GAP, _GAP), shown, font=title, fill=_INK)
    for number, row in enumerate(rows):
        x, y = _GAP + number % columns * step_x, top + number // columns * step_y
        with opened(out / row["file_name"]) as image:
            image.draft("RGB", (_SIDE, _SIDE))
            sheet.paste(_thumbnail(image), (x, y))
        lines = _wrapped(draw, row["prompt"], font)
        draw.multiline_text((x, y + _SIDE + 3), "\n".join(lines), font=font, fill=_INK, spacing=3)
        below = y + _SIDE + 3 + len(lines) * (_TEXT + 3)
        draw.text((x, below), _cut(draw, _facts(row), font), font=font, fill=_MUTED)
    return sheet


def _facts(row: Mapping[str, Any]) -> str:
    styles = (f"{Path(n).name} {s:g}" for n, s in zip(row["steering"], row["strength"], strict=True))
    return ", ".join([*styles, f"seed {row['seed']}"])


def _thumbnail(image: Image.Image) -> Image.Image:
    """A picture fitted into a square; small ones are enlarged without smoothing when the factor is whole."""
    image = as_rgb(image, background="white")
    scale = _SIDE / max(image.size)
    whole = scale >= 1 and scale.is_integer()
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(shape, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)
    square = Image.new("RGB", (_SIDE, _SIDE), _PAPER)
    square.paste(small, ((_SIDE - shape[0]) // 2, (_SIDE - shape[1]) // 2))
    return square


def _wrapped(draw: ImageDraw.ImageDraw, text: str, font: Any) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font=font) <= _SIDE or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    kept = lines[:_LINES]
    if len(lines) > _LINES:
        kept[-1] += " …"
    return [_cut(draw, line, font) for line in kept]


def _cut(draw: ImageDraw.ImageDraw, text: str, font: Any) -> str:
    """A line that is not wider than a picture."""
    if draw.textlength(text, font=font) <= _SIDE:
        return text
    while text and draw.textlength(text + "…", font=font) > _SIDE:
        text = text[:-1]
    return text + "…"
