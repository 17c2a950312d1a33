"""The report in a real browser: no errors, sliders by mouse and keyboard, phone, dark, offline."""

from __future__ import annotations

import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from linea_diffusion import ClipScorer, StyleGrid, load_concept
from linea_diffusion.grids.report.grid_page import grid_page
from linea_diffusion.grids.report.page import write_report

from ..browser import chromium
from .test_report import made_grid

DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}
PROMPTS = ("a red heart", '<script>document.title="taken"</script> "fish"', "a red fish")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as context:
        context.set_offline(True)
        yield context


@pytest.fixture(scope="module")
def files(tmp_path_factory, random_maps):
    """A grid of prompts, and one of two dials."""
    folder = tmp_path_factory.mktemp("reports")
    grid = made_grid(PROMPTS)
    plain = {"a red heart": "a red heart", "a red fish": "a red fish"}
    for cell in grid.cells:  # the embedded CLIP reads 24 tokens
        cell.prompt = plain.get(cell.prompt, "a fish")
    grid.score(ClipScorer(), load_concept("neon"))
    write_report(grid_page(grid, maps={"neon": random_maps}, command="linea grid " + "x" * 300), folder / "grid.html")
    labels = {"row_labels": ["neon 0", "neon 0.5", "neon 1"], "column_labels": ["ink 0", "ink 0.5", "ink 1"]}
    dials = StyleGrid(grid.rows, style="neon", kind="neon x ink", title="two", **labels)
    write_report(grid_page(dials), folder / "dials.html")
    return folder


@pytest.fixture
def opened(browser, files):
    """Open a report; the test fails if the page said anything, or asked for anything but itself."""
    page, said, requests = browser.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))

    def open_report(name="grid", *, size=DESKTOP, scheme="light"):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.goto((files / f"{name}.html").as_uri())
        return page

    yield open_report
    page.close()
    assert not said
    assert all(url.startswith(("file:", "data:")) for url in requests)


def _picture(page, selector: str) -> Image.Image:
    return Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("RGB")


def _sources(page) -> list[str]:
    return page.locator(".dial .view").evaluate_all("images => images.map(image => image.src)")


def _table(page, row: int) -> list[str]:
    return page.locator(".strip").nth(row).locator("img").evaluate_all("images => images.map(image => image.src)")


def test_it_opens_and_shows_everything(opened):
    page = opened()
    assert page.title() == "neon"
    assert page.locator(".dial").count() == 3
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    shot = np.asarray(Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB"))
    assert shot.shape[0] > 1500
    assert shot.std() > 20, "an empty page"
    assert page.locator("svg").count() == 6
    assert all(box["width"] > 200 for box in (page.locator("svg").nth(i).bounding_box() for i in range(6)))


def test_the_keyboard_turns_a_dial(opened):
    page = opened()
    slider, row = page.locator(".dial .along").first, _table(page, 0)
    before = _picture(page, ".dial .view")
    assert _sources(page)[0] == row[2]
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert _sources(page)[0] == row[1]
    assert slider.get_attribute("aria-valuetext") == "0.5"
    assert page.locator(".dial output").first.text_content() == "0.5"
    assert page.locator(".dial .view").first.get_attribute("alt") == "a red heart, strength 0.5"
    page.keyboard.press("Home")
    assert _sources(page) == [row[0], _table(page, 1)[2], _table(page, 2)[2]], "only this dial turns"
    assert np.abs(np.asarray(before, int) - np.asarray(_picture(page, ".dial .view"), int)).mean() > 20


def test_the_mouse_turns_a_dial(opened):
    page = opened()
    slider, row = page.locator(".dial .along").first, _table(page, 0)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 8, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 4, middle, steps=4)
    page.mouse.up()
    assert _sources(page)[0] == row[0]
    shown = page.locator(".dial .scores dd").first.text_content()
    assert re.fullmatch(r"0\.\d{3}", shown)


def test_one_slider_turns_all(opened):
    page = opened()
    page.locator("#all").focus()
    page.keyboard.press("ArrowLeft")
    assert _sources(page) == [_table(page, row)[1] for row in range(3)]
    assert page.locator("#all").get_attribute("aria-valuetext") == "0.5"


def test_it_plays_and_stops(opened):
    page = opened()
    button = page.locator(".dial .play").first
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    first = page.locator(".dial .along").first
    seen = []
    while len(set(seen)) < 3 and len(seen) < 60:
        seen.append(first.input_value())
        page.wait_for_timeout(100)
    assert set(seen) == {"0", "1", "2"}, "it goes on, and turns back at the end"
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    stopped = first.input_value()
    page.wait_for_timeout(600)
    assert first.input_value() == stopped


def test_two_dials_are_two_sliders(opened):
    page = opened("dials")
    assert page.locator(".dial").count() == 1
    across, along = page.locator(".across"), page.locator(".along")
    across.focus()
    page.keyboard.press("Home")
    assert _sources(page) == [_table(page, 0)[2]]
    assert across.get_attribute("aria-valuetext") == "neon 0"
    along.focus()
    page.keyboard.press("ArrowLeft")
    assert _sources(page) == [_table(page, 0)[1]]


@pytest.mark.parametrize("name", ["grid", "dials"])
def test_a_phone_needs_no_sideways_scrolling(opened, name):
    page = opened(name, size=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > 361 "
        "&& !e.closest('.scroll')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    assert all(
        page.locator(".play").nth(i).bounding_box()["height"] >= 40 for i in range(page.locator(".play").count())
    )


def test_dark_is_dark(opened):
    colours = {}
    for scheme in ("light", "dark"):
        page = opened(scheme=scheme)
        shot = np.asarray(_picture(page, ".figures figure"))
        colours[scheme] = [np.median(shot), int((np.abs(shot.astype(int) - np.median(shot)).max(axis=-1) > 90).sum())]
        ink = page.evaluate("getComputedStyle(document.querySelector('.figures svg text')).fill")
        colours[scheme].append(sum(map(int, re.findall(r"\d+", ink)[:3])))
    assert colours["light"][0] > 240
    assert colours["dark"][0] < 40
    assert min(colours["light"][1], colours["dark"][1]) > 500, "nothing is drawn"
    assert colours["light"][2] < 150 < 600 < colours["dark"][2]


def test_everything_is_reached_and_named(opened):
    page = opened()
    names = page.locator("input, button").evaluate_all(
        "all => all.map(e => e.getAttribute('aria-label') || (e.labels && e.labels[0] && e.labels[0].textContent))"
    )
    assert all(names)
    assert len(set(names)) == len(names)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "play"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    headings = page.locator("h1, h2, h3").evaluate_all("all => all.map(e => +e.tagName[1])")
    assert headings[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(headings))


def test_words_of_the_user_stay_words(opened):
    page = opened()
    assert page.title() == "neon"
    assert "<script>" in page.locator(".dial h3").nth(1).text_content()
    assert page.locator("script").count() == 1
