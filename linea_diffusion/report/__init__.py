"""The report: one HTML file with pictures, dials, curves and settings that opens anywhere, without a network."""

from __future__ import annotations

from pathlib import Path

from ..storage import make_folder
from .of_evaluation import evaluation_page
from .of_grid import grid_page
from .page import Page, html

__all__ = ["Page", "evaluation_page", "grid_page", "html", "write_report"]


def write_report(page: Page, path: str | Path) -> None:
    """Write a page as one self-contained HTML file.

    Args:
        page: of `grid_page` or `evaluation_page`.
        path: such as ``report.html``.

    Raises:
        LineaError: a folder that cannot be made.
    """
    path = Path(path)
    make_folder(path.parent)
    path.write_text(html(page), encoding="utf-8")
