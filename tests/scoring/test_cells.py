"""Where pictures and captions are, and that each is drawn there."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from linea_diffusion.scoring.images.cells import INK, PAPER, CellLayout, box_of, draw_cells, fit_into, font_sizes
from linea_diffusion.scoring.images.lettering import line_height

COLORS = ["#c02020", "#20c020", "#2020c0", "#c0c020", "#20c0c0"]


@pytest.mark.parametrize("frame", [0, 3])
def test_cells_follow_each_other_with_their_captions_below(frame):
    step = line_height(10)
    layout = CellLayout(cell=(40, 30), text=12, small=10, gap=6, left=20, top=15, caption=2 * step, frame=frame)
    size = layout.corner(3, 2)
    sheet = Image.new("RGB", size, PAPER)
    images = [Image.new("RGB", (80, 60), color) for color in COLORS]
    captions = [[("one", INK), ("two", INK)][: 2 - number % 2] for number in range(len(COLORS))]
    draw_cells(sheet, zip(images, captions, strict=True), layout, 2)
    assert size == (20 + 2 * (46 + 2 * frame), 15 + 3 * (36 + 2 * frame + 2 * step))
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = layout.place(*divmod(number, 2))
        drawn = np.asarray(sheet.crop((x, y, x + 40, y + 30)))
        assert (drawn == np.asarray(image)[:30, :40]).all()
        below = y + 30 + frame + 1
        for line in range(2):
            words = sheet.crop((x, below + line * step, x + 40, below + (line + 1) * step))
            assert (np.asarray(words).min() < 120) == (line < len(caption))


def test_sizes_of_text_grow_with_the_cells_but_are_never_tiny():
    sizes = [font_sizes(size) for size in (16, 48, 192, 512)]
    assert sizes[0] == sizes[1] == (12, 10)
    assert sizes == sorted(sizes)
    assert sizes[-1][0] > 2 * sizes[1][0]


def test_pictures_fit_into_boxes():
    assert box_of(Image.new("RGB", (128, 64)), 96) == (96, 48)
    boxed = fit_into(Image.new("RGB", (10, 20), "red"), (40, 40))
    assert boxed.size == (40, 40)
    assert boxed.getpixel((2, 20)) == PAPER
    assert boxed.getpixel((20, 20)) == (255, 0, 0)
