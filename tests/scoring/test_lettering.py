"""Text fits where it shall, in a font that has it."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageDraw

from linea_diffusion.scoring.images import lettering
from linea_diffusion.scoring.images.lettering import ELLIPSIS, draw_line, shorten, text_width, wrap

LONG = "a very long prompt that goes on and on with a great many words " * 5
WORD = "Donaudampfschifffahrtsgesellschaftskapitän" * 4
CYRILLIC, CHINESE = "красное сердце", "红色的心"


@pytest.mark.parametrize("text", [LONG, WORD, CYRILLIC * 9, CHINESE * 40, "a  b\n c", "🦩🐟" * 40, ""])
@pytest.mark.parametrize("size", [10, 12, 31])
@pytest.mark.parametrize("width", [60, 170])
def test_lines_are_no_wider_and_no_more_than_asked(text, size, width):
    lines = wrap(text, size=size, width=width, lines=3)
    assert 1 <= len(lines) <= 3
    assert all(text_width(line, size) <= width for line in lines)
    letters = "".join(text.split())
    shown = "".join("".join(lines).split())
    assert shown == letters or (shown.endswith(ELLIPSIS) and letters.startswith(shown[:-1]))


def test_an_ellipsis_stands_for_what_is_left_out_and_only_then():
    assert wrap("a red heart", size=12, width=500, lines=1) == ["a red heart"]
    assert shorten("a red heart", size=12, width=500) == "a red heart"
    assert shorten(LONG, size=12, width=100).endswith(ELLIPSIS)
    assert wrap("one two", size=12, width=text_width("one", 12) + 1, lines=2) == ["one", "two"]


@pytest.mark.parametrize(("align", "share"), [("left", 0.0), ("center", 0.5), ("right", 1.0)])
def test_what_is_drawn_is_as_wide_as_measured_and_where_it_was_asked(align, share):
    text, size = f"a red heart, {CYRILLIC}", 20
    width = text_width(text, size)
    image = Image.new("RGB", (1000, 60), "white")
    draw_line(ImageDraw.Draw(image), (500, 10), text, size=size, fill=(0, 0, 0), align=align)
    dark = np.asarray(image).min(axis=2) < 128
    columns, rows = np.flatnonzero(dark.any(axis=0)), np.flatnonzero(dark.any(axis=1))
    assert columns[0] == pytest.approx(500 - share * width, abs=3)
    assert columns[-1] == pytest.approx(500 + (1 - share) * width, abs=3)
    assert rows[0] >= 10
    assert rows[-1] <= 10 + lettering.line_height(size)


def test_a_font_that_has_a_character_draws_it():
    main, second = lettering._bundled("DejaVuSans.ttf", "STIXGeneral.ttf")
    others = map(chr, sorted(lettering._characters(second) - lettering._characters(main)))
    missing = next(other for other in others if not unicodedata.combining(other))
    runs = lettering._runs(f"heart {missing} {CYRILLIC}")
    assert [path for path, _ in runs] == [main, second, main]
    assert runs[1][1] == missing
    image = Image.new("L", (60, 60), 255)
    draw_line(ImageDraw.Draw(image), (5, 5), CHINESE[0], size=40, fill=0)
    assert np.asarray(image).min() < 128, "something is drawn where no font has it"


def test_a_word_of_any_length_is_quick():
    """Measured piece by piece: the time of the whole would grow with the square of its length."""
    lines = wrap("x" * 1_000_000, size=12, width=100, lines=3)
    assert len(lines) == 3
    assert lines[-1].endswith(ELLIPSIS)


def test_marks_stay_with_their_letter():
    assert len(lettering._runs("e\u0301a\ufe0f")) == 1
