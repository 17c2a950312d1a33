"""Text on pictures in a real font, with others for what it lacks; wrapped and shortened by measured width.

DejaVu Sans comes with matplotlib. Characters that it lacks (Chinese, Japanese, Korean, most emoji ...) are drawn in an
installed font that has them, if there is one, and otherwise as the boxes of Unicode's Last Resort font.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

Color = tuple[int, int, int]
ELLIPSIS = "…"


def text_width(text: str, size: int) -> float:
    """Width of one line in pixels at a font size in pixels."""
    return sum(_font(path, size).getlength(part) for path, part in _runs(text))


def line_height(size: int) -> int:
    """From one line to the next, in pixels."""
    return round(1.25 * size)


def draw_line(
    draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *, size: int, fill: Color, align: str = "left"
) -> None:
    """Draw one line whose top is at `xy`; `align` says what of it is at x: ``left``, ``center`` or ``right``."""
    x, y = xy
    x -= {"left": 0.0, "center": 0.5, "right": 1.0}[align] * text_width(text, size)
    for path, part in _runs(text):
        font = _font(path, size)
        draw.text((x, y + size), part, font=font, fill=fill, anchor="ls")
        x += font.getlength(part)


def wrap(text: str, *, size: int, width: float, lines: int) -> list[str]:
    """Text in at most `lines` lines of at most `width` pixels; what does not fit becomes an ellipsis.

    Lines break at spaces, and within words that are wider than a line.
    """
    wrapped: list[str] = []
    for word in text.split():
        joined = f"{wrapped[-1]} {word}" if wrapped else word
        if wrapped and text_width(joined, size) <= width:
            wrapped[-1] = joined
        else:
            wrapped += _pieces(word, size, width, lines + 1)
        if len(wrapped) > lines:
            return [*wrapped[: lines - 1], shorten(f"{wrapped[lines - 1]} {ELLIPSIS}", size=size, width=width)]
    return wrapped or [""]


def shorten(text: str, *, size: int, width: float) -> str:
    """One line of at most `width` pixels, with an ellipsis for its end where it is longer."""
    if text_width(text, size) <= width:
        return text
    kept = _fitting(text.removesuffix(ELLIPSIS), size, width - text_width(ELLIPSIS, size))
    return text[:kept].rstrip() + ELLIPSIS


def _pieces(word: str, size: int, width: float, most: int) -> list[str]:
    """A word, broken where it is wider than a line; its first `most` pieces."""
    pieces: list[str] = []
    while word and len(pieces) < most:
        kept = max(1, _fitting(word, size, width))
        pieces.append(word[:kept])
        word = word[kept:]
    return pieces


def _fitting(text: str, size: int, width: float) -> int:
    """How many characters from the left fit."""
    high = 16
    while high < len(text) and text_width(text[:high], size) <= width:
        high *= 2
    low, high = 0, min(high, len(text))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(text[:middle], size) <= width else (low, middle - 1)
    return low


def _runs(text: str) -> list[tuple[str, str]]:
    """(font file, part) of a line: neighbouring characters of one font stay together."""
    runs: list[tuple[str, str]] = []
    for character in text:
        joins = bool(unicodedata.combining(character)) or character in "\u200d\ufe0e\ufe0f"
        path = runs[-1][0] if joins and runs else _file_for(character)
        if runs and runs[-1][0] == path:
            runs[-1] = (path, runs[-1][1] + character)
        else:
            runs.append((path, character))
    return runs


@lru_cache(maxsize=4096)
def _file_for(character: str) -> str:
    """The first font with a character."""
    code = ord(character)
    for path in _bundled("DejaVuSans.ttf", "STIXGeneral.ttf"):
        if code in _characters(path):
            return path
    return next((path for path in _installed() if code in _characters(path)), _bundled("LastResortHE-Regular.ttf")[0])


def _bundled(*names: str) -> list[str]:
    """Files of fonts that come with matplotlib; DejaVu Sans for those that this version lacks."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [str(folder / (name if (folder / name).is_file() else "DejaVuSans.ttf")) for name in names]


@lru_cache(maxsize=1)
def _installed() -> list[str]:
    """Files of the system's fonts that Pillow can draw at any size, upright and regular ones first."""
    from matplotlib.font_manager import findSystemFonts

    return sorted(_drawable(findSystemFonts()), key=lambda path: ("Regular" not in path, "Sans" not in path, path))


def _drawable(paths: list[str]) -> Iterator[str]:
    for path in paths:
        try:
            ImageFont.truetype(path, 17)
        except OSError:  # bitmap fonts have their own sizes only
            continue
        yield path


@lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(path).get_charmap())


@lru_cache(maxsize=128)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)
