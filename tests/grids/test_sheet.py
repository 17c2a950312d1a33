"""The drawn grid: every picture, label and score is there, at any size; and few pictures are open at once."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from PIL import Image, ImageChops

from linea_diffusion import LineaError, StyleGrid
from linea_diffusion.grids.plans import Cell
from linea_diffusion.grids.sheet import ColorScale, _layout
from linea_diffusion.scoring.images import cells
from linea_diffusion.scoring.images.lettering import wrap

COLORS = [["#c02020", "#20c020", "#2020c0"], ["#c0c020", "#20c0c0", "#c020c0"]]
LONG = "a very long prompt, длинный, 很长的提示, " * 20


def made(*, scored=True, shape=(64, 64), labels=("a red heart", LONG), title="neon"):
    rows = [
        [
            Cell("p", column / 2, row, Image.new("RGB", shape, color), {"a": column / 2}, "neon")
            for column, color in enumerate(colors)
        ]
        for row, colors in enumerate(COLORS)
    ]
    grid = StyleGrid(rows, style="neon", row_labels=labels, title=title)
    if scored:
        for number, cell in enumerate(grid.cells):
            cell.scores = {"clip_style_cosine": 0.1 * number, "clip_style_probability": 0.9 - 0.1 * number}
    return grid


@pytest.mark.parametrize("size", [16, 48, 96, 192, 512])
@pytest.mark.parametrize("drawing", [{}, {"score_place": "on", "colorbar": True}, {"score_place": None}])
def test_every_picture_and_every_label_is_there(size, drawing):
    grid = made()
    sheet = grid.image(cell_size=size, **drawing)
    layout = _layout(
        grid, size, "clip_style_cosine", drawing.get("score_place", "under"), drawing.get("colorbar", False)
    )
    assert sheet.size == (layout.width, layout.height)
    for row, colors in enumerate(COLORS):
        for column, color in enumerate(colors):
            x, y = layout.place(row, column)
            assert sheet.getpixel((x + size - 2, y + 1)) == Image.new("RGB", (1, 1), color).getpixel((0, 0))
            head = sheet.crop((x, layout.top // 2, x + size, y - layout.frame))
            assert row or np.asarray(head).min() < 120, "a column's label is missing"
        label = sheet.crop((0, layout.place(row, 0)[1], layout.left - layout.gap, layout.place(row, 0)[1] + size))
        assert np.asarray(label).min() < 120, "a row's label is missing"
    assert np.asarray(sheet.crop((0, 0, 60, layout.top // 2))).min() < 120, "the title is missing"


@pytest.mark.parametrize("size", [48, 96, 112, 128, 192])
def test_a_short_label_stays_in_one_line(size):
    for label in ("seed 1", "watercolor", "a blue house", "neon 0.75"):
        layout = _layout(made(labels=(label, label)), size, None, None, False)
        assert wrap(label, size=layout.text, width=layout.left - 3 * layout.gap, lines=3) == [label]


def test_the_score_and_its_place_decide_what_is_drawn():
    grid = made()
    ways = [
        grid.image(cell_size=96),
        grid.image(cell_size=96, score="clip_style_probability"),
        grid.image(cell_size=96, score_place="on"),
        grid.image(cell_size=96, score_place=None),
        grid.image(cell_size=96, colorbar=True),
        grid.image(cell_size=96, colorbar=True, score="clip_style_probability", score_place=None),
    ]
    assert all(a.size != b.size or ImageChops.difference(a, b).getbbox() for i, a in enumerate(ways) for b in ways[:i])
    assert ways[3].height < ways[0].height, "no room for scores that are not shown"
    assert made(scored=False).image(cell_size=96).size == ways[3].size


def test_frames_have_the_colours_of_the_scale():
    grid = made()
    sheet = grid.image(cell_size=96, colorbar=True)
    layout = _layout(grid, 96, "clip_style_cosine", "under", True)
    scale = ColorScale([cell.scores["clip_style_cosine"] for cell in grid.cells])
    for row in range(2):
        for column in range(3):
            x, y = layout.place(row, column)
            value = grid.rows[row][column].scores["clip_style_cosine"]
            assert sheet.getpixel((x - 2, y + 40)) == scale.color(value)
    strip = scale.strip(256, 4)
    assert (strip.getpixel((0, 0)), strip.getpixel((255, 0))) == (scale.color(0.0), scale.color(0.5))


def test_the_colour_scale_rises_in_lightness():
    scale = ColorScale([-1, 1])
    lightness = [np.dot(scale.color(value), (0.2126, 0.7152, 0.0722)) for value in np.linspace(-1, 1, 9)]
    assert lightness == sorted(lightness)
    assert lightness[-1] - lightness[0] > 120
    assert ColorScale([2, 2]).color(2) == ColorScale([0, 4]).color(2)


def test_cells_have_the_shape_of_the_pictures():
    layout = _layout(made(shape=(128, 64)), 96, None, None, False)
    assert layout.cell == (96, 48)


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        ({"cell_size": 8}, "16 to 2048"),
        ({"score": "clip_style_cosin"}, "nearest: clip_style_cosine"),
        ({"score": "clip_style"}, "it is called clip_style_cosine now"),
        ({"score": "directional_similarity"}, "no picture of this grid has"),
        ({"score_place": "beside"}, "under, on or None"),
    ],
)
def test_drawings_that_make_no_sense_are_refused(drawing, message):
    with pytest.raises(LineaError, match=message):
        made().image(**drawing)


def test_a_colour_bar_needs_scores():
    with pytest.raises(LineaError, match="call score first"):
        made(scored=False).image(colorbar=True)


@pytest.fixture
def live(monkeypatch):
    """How many pictures of at least 500 pixels' side, made since the test began, are alive."""
    alive = []
    begin = Image.Image.__init__

    def counted(self):
        begin(self)
        alive.append(weakref.ref(self))

    monkeypatch.setattr(Image.Image, "__init__", counted)

    def count():
        alive[:] = [one for one in alive if one() is not None]
        return sum(one().width >= 500 and one().height >= 500 for one in alive)

    return count


def test_a_large_grid_in_a_folder_has_one_large_picture_open_at_a_time(tmp_path, monkeypatch, live):
    rows, columns = 20, 11
    Image.new("RGB", (500, 500), "red").save(tmp_path / "one.png")
    rows_of_cells = [[Cell("p", c / 10, r, tmp_path / "one.png") for c in range(columns)] for r in range(rows)]
    grid, most, fit = StyleGrid(rows_of_cells, style="x"), [], cells.fit_into
    monkeypatch.setattr(cells, "fit_into", lambda image, box: (fit(image, box), most.append(live()))[0])
    sheet = grid.image(cell_size=16)
    assert len(most) == rows * columns
    assert sheet.width < 500
    assert max(most) == 1, "pictures are opened one after the other"
    grid.save_images(tmp_path / "out", ending=".jpg")
    assert live() == 0


def test_pictures_in_memory_are_held_once(monkeypatch, live):
    rows_of_cells = [[Cell("p", c, r, Image.new("RGB", (500, 500), "red")) for c in range(5)] for r in range(4)]
    grid, most, fit = StyleGrid(rows_of_cells, style="x"), [], cells.fit_into
    monkeypatch.setattr(cells, "fit_into", lambda image, box: (fit(image, box), most.append(live()))[0])
    grid.image(cell_size=16)
    assert max(most) <= 20 + 1
