"""The site: every block of code on its pages runs, commands and options exist, and it builds without a warning."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "site"))

from pictures import blocks, run, shown

from .browser import chromium

PAGES = sorted((ROOT / "docs").glob("*.md"))
SHORT = {
    "tutorial": {"train_steering_maps(pipe, glow)": "train_steering_maps(pipe, glow, SHORT)"},
}
"""Page -> old text, which must be in its code once, -> new text: the same calls, not at full length."""
ELSEWHERE = {"maps", "scaling", "service", "scores", "architecture", "pipelines"}
"""Pages whose code needs what a test has not, or is run by the tests of its own subject."""
ONE_STEP = ("tutorial", "dial", "styles", "curves", "masks", "gallery")
"""Pages on which pictures of one step do."""


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page) and page.stem not in ELSEWHERE], ids=str)
def test_code_runs(page, tmp_path, monkeypatch):
    from linea_diffusion import shapeland

    monkeypatch.chdir(tmp_path)
    if page.stem in ONE_STEP:
        for model in shapeland.MODELS:
            arguments = {**shapeland.DEFAULT_ARGUMENTS[model], "num_inference_steps": 1}
            monkeypatch.setitem(shapeland.DEFAULT_ARGUMENTS, model, arguments)
    code = "\n".join(blocks(page))
    for old, new in SHORT.get(page.stem, {}).items():
        assert code.count(old) == 1, f"{old!r} is not on {page.name} once"
        code = code.replace(old, new)
    run(["from tests.conftest import SHORT", code], page)
    assert all((tmp_path / name).is_file() for name in shown(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pictures_and_commands_are_there(page):
    text = page.read_text(encoding="utf-8")
    for place in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", text):
        assert (page.parent / place).is_file(), f"{page.name} shows {place}"
    for block in re.findall(r"^```(?:bash|sh)?\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("linea "):
                check_command(line)


def check_command(line: str) -> None:
    """Whether the command and its options are there."""
    import typer

    from linea_diffusion import cli

    command, *arguments = shlex.split(line, comments=True)[1:]
    if "..." in arguments:
        return
    parameters = typer.main.get_command(cli.app).commands[command].params
    options = {name for one in parameters for name in (*one.opts, *one.secondary_opts)}
    for argument in arguments:
        if argument.startswith("--"):
            assert argument.partition("=")[0] in options, f"{line}: {argument}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built: a warning, a dead link or a page without a place in it fails."""
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(folder)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


def test_nothing_is_fetched_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert {"index.html", "tutorial.html", "gallery.html", "python.html", "errors.html"} <= {
        page.name for page in pages
    }
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=.https?:|<link[^>]*stylesheet[^>]*https?:", text)
        assert not fetched, f"{page.name} fetches {fetched}"


@pytest.fixture
def served(site):
    """The address where the site is served."""
    handler = partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each."""

    def log_message(self, *_: object) -> None:
        pass


def test_pages_in_a_browser(served, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    with chromium(tmp_path / "profile") as browser:
        page = browser.new_page()
        wrong = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        for name in ("index", "tutorial", "masks", "generated/commands"):
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size({"width": 360, "height": 800})
                page.goto(f"{served}/{name}.html")
                assert page.evaluate("document.documentElement.scrollWidth") <= 360, f"{name} is wider than a phone"
                found = Axe().run(page).response["violations"]
                serious = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
                assert not serious, f"{name}, {scheme}: {serious}"
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{served}/search.html?q=calibrated")
        page.wait_for_selector("#search-results li")
        assert not wrong
