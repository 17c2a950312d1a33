"""The page in a real browser: turned by keyboard and mouse, learned and stopped, two windows, phone, dark, offline."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

pytest.importorskip("gradio")
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from linea_diffusion import ClipScorer
from linea_diffusion.studio.page.app import served

from ..browser import chromium
from .conftest import model_of

expect.set_options(timeout=120_000)
TABS = ("Explore", "Grid", "Learn", "Compare")
PROMPTS = [f"a {color} {what}" for color in ("red", "blue") for what in ("star", "house", "fish")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="module")
def address(loaded_pipe, random_maps, folder):
    shared = model_of(loaded_pipe, random_maps, folder, scorer=ClipScorer)
    facts = {"concept": "neon", "text": "a picture in neon style", "neutral": "a picture of something"}
    shared.pipe.steering["one"].metadata |= facts
    with served(shared) as url:
        yield url
    for name in facts:
        del shared.pipe.steering["one"].metadata[name]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture(scope="module")
def opened(browser, address):
    """Open another window; in the end none may have said anything, or asked anybody else for anything."""
    said, asked = [], []

    def window(**looks):
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.set_default_timeout(120_000)
        page.emulate_media(**looks)
        page.goto(address)
        expect(page.locator(".strip button")).to_have_count(8)
        return page

    yield window
    assert set(said) <= {"Method not implemented."}, "which Gradio says when it closes its stream as a page is left"
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)


@pytest.fixture(scope="module")
def page(opened):
    return opened()


def _tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")


def _iterations(page, count: int) -> None:
    """Gradio takes over a number when its field is left, and may still be unfolding the settings."""
    field = page.get_by_label("Iterations", exact=True)
    expect(field).to_be_editable()
    field.fill(str(count))
    field.press("Tab")
    expect(field).to_have_value(str(count))


def _shown(page) -> str:
    return page.locator(".frame .now").get_attribute("src")


def _settled(page) -> None:
    expect(page.locator(".frame")).to_have_attribute("aria-busy", "false")


def test_keys_turn_a_dial(page):
    dial, before = page.get_by_label("one strength", exact=True), _shown(page)
    dial.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert _shown(page) != before, "the row is there: nobody waits for a picture at 0.5"
    expect(page.locator(".strip [aria-pressed=true]")).to_have_accessible_name("one 0.5")
    page.keyboard.press("ArrowLeft")
    _settled(page)
    expect(page.locator(".frame .now")).to_have_attribute("alt", "a red heart: one 0.45")
    expect(page.get_by_label("one strength as a number")).to_have_value("0.45")
    near = page.locator(".strip img").nth(4).get_attribute("src")
    page.wait_for_function("source => document.querySelector('.frame .now').src !== source", arg=near)
    page.keyboard.press("Home")
    expect(page.locator(".frame .now")).to_have_attribute("alt", "a red heart: one -0.5")


def test_the_mouse_turns_another_style_and_switches_it_off(page):
    page.locator(".strip button").nth(2).click()
    box = page.get_by_label("two strength", exact=True).bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.85, box["y"] + box["height"] / 2)
    expect(page.locator(".strip button").first).to_have_accessible_name("two -0.5")
    _settled(page)
    assert _shown(page) != page.locator(".frame .plain").get_attribute("src")
    page.get_by_label("two on").uncheck()
    page.wait_for_function("document.querySelector('.frame .now').src === document.querySelector('.frame .plain').src")
    page.get_by_label("two on").check()
    page.get_by_label("Compare with unsteered").fill("50")
    expect(page.locator(".seam")).to_be_visible()
    page.get_by_label("Compare with unsteered").fill("0")


def test_a_part_of_the_picture_is_steered(page):
    page.locator(".strip button").nth(6).click()
    _settled(page)
    whole = _shown(page)
    page.get_by_text("Steer a part of the picture").click()
    page.get_by_label("area").select_option("left half")
    page.wait_for_function("source => document.querySelector('.frame .now').src !== source", arg=whole)
    assert _shown(page) != page.locator(".frame .plain").get_attribute("src")
    page.get_by_label("area").select_option("drawn by hand")
    page.wait_for_function("source => document.querySelector('.frame .now').src === source", arg=whole)
    box = page.locator(".brush").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 200, steps=3)
    page.mouse.up()
    page.wait_for_function("source => document.querySelector('.frame .now').src !== source", arg=whole)
    expect(page.locator("code.command")).to_contain_text("--mask mask.png")
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("source => document.querySelector('.frame .now').src === source", arg=whole)


def test_words_a_seed_scores_and_the_picture_itself(page):
    page.get_by_label("Prompt", exact=True).fill('<img src=x onerror="document.title=1">')
    page.get_by_label("Prompt", exact=True).fill("a blue fish")
    page.get_by_label("Seed").fill("7")
    page.get_by_role("button", name="Draw").click()
    page.wait_for_function("document.querySelector('.frame .now').alt.startsWith('a blue fish')")
    page.get_by_text("Scores", exact=True).click()
    expect(page.locator(".scores .hint")).to_contain_text("got no texts to score 'two' against")
    page.get_by_label("one strength", exact=True).press("End")
    expect(page.locator(".scores tbody")).to_contain_text("raw cosine")
    page.get_by_text("Copy as code").click()
    expect(page.locator("code.python")).to_contain_text("manual_seed(7)")
    expect(page.locator("code.command")).to_contain_text("--strength one=1.25,two=1 --seed 7")
    page.get_by_label("one strength", exact=True).press("Home")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download picture").click()
    assert download.value.suggested_filename == "a-blue-fish-7.png"
    page.get_by_label("Prompt", exact=True).fill(" ")
    page.get_by_role("button", name="Draw").click()
    expect(page.locator(".side .status")).to_contain_text("expected some words")
    assert page.title() == "linea studio"


def test_a_style_is_learned_and_joins_the_others_of_its_window_alone(page, opened, folder):
    other = opened()
    page.bring_to_front()
    _tab(page, "Learn")
    page.get_by_label("Name").fill("glow <b>")
    page.get_by_label("Prompts without").fill("\n".join(PROMPTS))
    page.get_by_role("button", name="Make the targets").click()
    expect(page.get_by_label("The same with it")).to_have_value("\n".join(f"{one}, neon" for one in PROMPTS))
    page.get_by_role("button", name="Settings").click()
    _iterations(page, 2)
    page.get_by_role("button", name="Learn", exact=True).click()
    expect(page.locator(".shots img")).to_have_count(3)
    expect(page.locator(".learning .status")).to_contain_text("glow <b> is learned", timeout=120_000)
    assert (folder / "styles" / "glow-b" / "steering.safetensors").exists()
    _tab(page, "Explore")
    expect(page.get_by_label("glow <b> strength", exact=True)).to_have_value("0.75")
    assert other.locator(".one").count() == 2
    other.get_by_label("one strength", exact=True).press("End")
    _settled(other)
    expect(other.locator(".one")).to_have_count(2)
    expect(page.locator(".frame .now")).to_have_attribute("alt", "a blue fish: glow <b> 0.75")
    other.close()


def test_a_training_is_stopped_and_kept(page, folder):
    _tab(page, "Learn")
    page.get_by_label("Name").fill("long")
    _iterations(page, 500)
    page.get_by_role("button", name="Learn", exact=True).click()
    expect(page.locator(".share")).to_contain_text("learn")
    page.get_by_role("button", name="Stop and keep").click()
    expect(page.locator(".learning .status")).to_contain_text("long is learned after", timeout=120_000)
    facts = json.loads((folder / "styles" / "long" / "config.json").read_text())
    assert facts["stopped_after"] < 100


def test_a_grid_is_made_and_another_is_stopped(page):
    _tab(page, "Grid")
    page.get_by_label("Strengths").fill("0,1")
    page.get_by_role("button", name="Make the grid").click()
    expect(page.locator(".table img")).to_have_count(6)
    page.get_by_role("button", name="Get the file").click()
    expect(page.get_by_text("grid").last).to_be_visible()
    page.get_by_label("Strengths").fill("0:1:100")
    page.get_by_role("button", name="Make the grid").click()
    page.locator(".table .stop").click()
    expect(page.locator(".table .status")).to_contain_text("stopped")
    page.get_by_label("Strengths").fill("much")
    page.get_by_role("button", name="Make the grid").click()
    expect(page.locator(".table .status")).to_contain_text("got strength 'much': expected finite numbers")


def test_a_comparison_by_the_keyboard(page, folder):
    _tab(page, "Compare")
    page.get_by_label("Prompts, one a line").locator("visible=true").fill("a red heart")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("button", name="No preference")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".count")).to_have_text("Pair 2 of 2")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".pair .status")).to_contain_text("neither 1 times")
    assert len((folder / "choices.csv").read_text().splitlines()) == 3


def test_files_that_are_no_style(page, tmp_path):
    _tab(page, "Explore")
    page.get_by_role("button", name="Styles: bring one").click()
    (tmp_path / "evil.safetensors").write_bytes(b"no tensors at all")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "evil.safetensors")
    expect(page.get_by_text("expected").last).to_be_visible()
    page.get_by_label("Close").or_(page.locator(".toast-close")).first.click()


def test_files_that_are_too_large(address):
    body = b"--x\r\nContent-Disposition: form-data; name=files; filename=big.safetensors\r\n\r\n" + bytes(65 << 20)
    wanted = urllib.request.Request(
        f"{address}gradio_api/upload", body + b"\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}
    )
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(wanted)


def test_nothing_outside_is_read(address, folder):
    for path in ("/etc/hostname", "pyproject.toml", folder / "choices.csv"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address}gradio_api/file={path}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_is_accessible_on_a_phone_too(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    page.reload()
    expect(page.locator(".strip button")).to_have_count(8)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert ground < 60 if scheme == "dark" else ground > 200
    for name in TABS:
        _tab(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
        bad = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
        assert not bad, (name, [(one["id"], one["nodes"][0]["html"]) for one in bad])


def test_nothing_needs_a_mouse(page):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.reload()
    expect(page.locator(".strip button")).to_have_count(8)
    page.locator("body").press("Tab")
    reached = set()
    for _ in range(45):
        reached.add(
            page.evaluate(
                "(e => e.getAttribute('aria-label') || e.textContent.trim().slice(0, 40))(document.activeElement)"
            )
        )
        page.keyboard.press("Tab")
    assert {"one strength", "two on", "one 0.5", "Draw", "Explore", "Download picture", "Scores"} <= reached
