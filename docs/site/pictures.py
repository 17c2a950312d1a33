"""Make the pictures of pages anew: run each page's code in an empty folder, and keep the pictures that it shows.

    python docs/site/pictures.py                 # all pages
    python docs/site/pictures.py tutorial dial   # some

A page shows ``pictures/PAGE/NAME``, which its code wrote as ``NAME``.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from blocks import blocks, run

DOCS = Path(__file__).parents[1]


def shown(page: Path) -> list[str]:
    """The pictures of its own that a page shows, by file name."""
    return re.findall(rf"\(pictures/{page.stem}/([^)\s]+)\)", page.read_text(encoding="utf-8"))


def main(pages: Sequence[str]) -> None:
    """Run pages that show pictures."""
    for page in sorted(DOCS.glob("*.md")):
        if not shown(page) or (pages and page.stem not in pages):
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            names: dict[str, object] = {}
            for block in blocks(page):
                if block.language == "python" and not block.reason:
                    run(block, page, names)
            kept = DOCS / "pictures" / page.stem
            kept.mkdir(parents=True, exist_ok=True)
            for name in shown(page):
                shutil.copy(name, kept / name)
            os.chdir(DOCS)
        print(page.stem, *shown(page))


if __name__ == "__main__":
    main(sys.argv[1:])
