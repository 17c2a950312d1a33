"""A headless Chromium for tests: the one that is installed, without network and without a profile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser context of Playwright; the test is skipped where no browser is installed, and fails on CI."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        report = pytest.fail if os.environ.get("CI") else pytest.skip
        report(f"no browser: expected one of {', '.join(NAMES)} (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(profile, executable_path=found, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
