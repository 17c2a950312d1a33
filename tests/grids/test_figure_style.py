"""One look: the user's settings untouched, colours that can be told apart, texts instead of pictures."""

from __future__ import annotations

import base64
import itertools
import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

from linea_diffusion import LineaError
from linea_diffusion.grids.report.figure_style import DARK_COLORS, SERIES_COLORS, THEMES, Plot, figure_style


def _draw(figure, colors):
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=colors[0], label="a < b")
    axes.set(xlabel="strength", ylabel="P & Q")


PLOT = Plot(_draw, 'A "title" <b>', "rises from 0 to 1 & ends <there>")


def test_the_users_settings_are_as_before():
    with matplotlib.rc_context({"font.size": 17, "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        PLOT.png()
        PLOT.inline_svg("x")
        with pytest.raises(LineaError), figure_style():
            PLOT.png(theme="sepia")
        with figure_style():
            assert matplotlib.rcParams["font.size"] == 9
        assert dict(matplotlib.rcParams) == before


def test_the_users_settings_do_not_reach_the_figures():
    plain = PLOT.png()
    with matplotlib.rc_context({"axes.facecolor": "red", "lines.linewidth": 9}):
        assert PLOT.png() == plain


def test_png_tells_what_it_shows(tmp_path):
    PLOT.save(tmp_path / "deep" / "a.png")
    with Image.open(tmp_path / "deep" / "a.png") as image:
        assert image.text["Title"] == PLOT.title
        assert image.text["Description"] == PLOT.alt
        assert image.size == (690, 435)


def test_svg_tells_what_it_shows_and_asks_for_nothing(tmp_path):
    import xml.etree.ElementTree as xml

    PLOT.save(tmp_path / "a.svg")
    root = xml.parse(tmp_path / "a.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title").text == PLOT.title
    assert root.find(f"{space}desc").text == PLOT.alt
    assert "P & Q" in "".join(root.itertext())


def test_pdf_keeps_texts_and_tells_what_it_shows(tmp_path):
    PLOT.save(tmp_path / "a.pdf")
    written = (tmp_path / "a.pdf").read_bytes()
    assert written.startswith(b"%PDF-")
    assert b"/Title" in written
    assert b"/TrueType" in written or b"/CIDFontType2" in written, "fonts, not outlines"
    PLOT.save(tmp_path / "b.pdf")
    assert (tmp_path / "b.pdf").read_bytes() == written


def test_themes_change_ink_and_paper(tmp_path):
    corners = {}
    for theme in ("light", "dark"):
        PLOT.save(tmp_path / f"{theme}.png", theme=theme)
        corners[theme] = Image.open(tmp_path / f"{theme}.png").convert("RGB").getpixel((1, 1))
    assert corners == {"light": (255, 255, 255), "dark": (0x15, 0x17, 0x1C)}
    with pytest.raises(LineaError, match="expected one of light, dark, page"):
        PLOT.png(theme="sepia")
    with pytest.raises(LineaError, match=r"ends in \.pdf, \.svg, \.png"):
        PLOT.save(tmp_path / "a.jpg")


def test_inline_svg_takes_the_pages_colours_and_keeps_its_names_apart():
    one, two = PLOT.inline_svg("one"), PLOT.inline_svg("two")
    assert one.startswith('<svg role="img" aria-labelledby="one-title one-desc"')
    assert "A &quot;title&quot; &lt;b&gt;" in one
    assert "currentColor" in one
    assert f"var(--series-1, {SERIES_COLORS[0]})" in one
    assert "http" not in one
    assert "<style" not in one
    names = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert not names[0] & names[1]
    for svg, ids in zip((one, two), names, strict=True):
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
        assert used
        assert used <= ids


def test_notebooks_show_a_png_with_words():
    data, metadata = PLOT._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == PLOT.png()
    assert data["text/plain"] == metadata["image/png"]["alt"] == PLOT.alt


# What eyes without red or green cones make of linear RGB (Vienot, Brettel and Mollon 1999).
BLIND = {
    "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("colors", [SERIES_COLORS, DARK_COLORS])
@pytest.mark.parametrize("eye", BLIND)
def test_the_first_colours_are_told_apart_by_the_colour_blind(colors, eye):
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colors[:4]])
    seen = (rgb**2.2 @ np.array(BLIND[eye]).T).clip(0, 1) ** (1 / 2.2)
    for a, b in itertools.combinations(seen, 2):
        assert np.abs(a - b).max() > 0.1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_ink_is_legible_and_lines_are_seen(theme):
    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a, b):
        high, low = sorted((luminance(a), luminance(b)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    ink, paper, colors = THEMES[theme]
    assert contrast(ink, paper) > 7
    assert min(contrast(color, paper) for color in colors[:3]) > 3
