"""The site builds without a warning, fetches nothing from elsewhere, and can be read in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).parents[1]
from .browser import chromium


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built: a warning, a dead link or a page without a place in it fails."""
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(folder)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


def test_errors_are_shown_as_they_are_said(site):
    text = (site / "generated" / "errors.html").read_text(encoding="utf-8")
    assert "<td><p>--ray without Ray</p></td>" in text
    assert "<td><p>pip install 'linea-diffusion[ray]'</p></td>" in text
    assert "<td><p>I/N with 1 &lt;= I &lt;= N, such as 2/4</p></td>" in text
    assert "<td><p>size {value}</p></td>" in text


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
