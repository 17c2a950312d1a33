"""One look for every figure: colours that the colour-blind tell apart, light and dark, texts instead of pictures."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import LineaError, make_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6f6f6f")
"""Okabe and Ito's colours in the order of use, without yellow (unreadable on white), and a grey."""

DARK_COLORS = ("#4ea8e6", "#ff8b4a", "#2fc79a", "#e39cc6", "#f2b640", "#9ad8ff", "#a8a8a8")
"""The same hues, lighter, for dark paper."""

MARKERS, DASHES = ("o", "s", "^", "D", "v", "P", "X"), ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), "-")
"""So that no line is known by its colour alone."""

_PAGE_INK = "#010203"
THEMES = {
    "light": ("#1c1e24", "#ffffff", SERIES_COLORS),
    "dark": ("#e7e9ee", "#15171c", DARK_COLORS),
    "page": (_PAGE_INK, "none", SERIES_COLORS),
}
"""Name -> ink, paper and colours; ``page`` takes ink and colours from the HTML page around it."""


@contextmanager
def figure_style(theme: str = "light") -> Iterator[tuple[str, ...]]:
    """Within the context matplotlib draws in this package's style; afterwards the user's settings are as before.

    Yields:
        The series' colours.

    Raises:
        LineaError: unknown theme.
    """
    import matplotlib
    from cycler import cycler

    if theme not in THEMES:
        raise LineaError(f"got figure theme {theme!r}: expected one of {', '.join(THEMES)}")
    ink, paper, colors = THEMES[theme]
    settings: Any = {
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9,
        "axes.titlesize": 10, "axes.titleweight": "normal", "axes.titlelocation": "left", "axes.labelsize": 9,
        "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8, "legend.frameon": False,
        "text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": ink, "xtick.color": ink, "ytick.color": ink,
        "figure.facecolor": paper, "axes.facecolor": "none", "savefig.facecolor": paper, "savefig.edgecolor": "none",
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "axes.axisbelow": True,
        "axes.grid": True, "grid.color": ink, "grid.alpha": 0.14, "grid.linewidth": 0.6,
        "lines.linewidth": 1.8, "lines.markersize": 4.5, "axes.prop_cycle": cycler(color=colors),
        "svg.fonttype": "none", "svg.hashsalt": "linea", "pdf.fonttype": 42, "figure.constrained_layout.use": True,
    }  # fmt: skip
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield colors


PLOT_ENDINGS = (".pdf", ".svg", ".png")
"""Of the files that plots are saved in."""


@dataclass(frozen=True)
class Plot:
    """A figure that is drawn when and as it is wanted: PNG, SVG, PDF, inline SVG, or a notebook's output.

    Attributes:
        draw: puts everything on an empty matplotlib figure, within `figure_style`.
        title: in a few words.
        alt: what the figure shows, in words with its main numbers, for those who do not see it.
        size: width and height in inches.
    """

    draw: Callable[[Figure, tuple[str, ...]], None]
    title: str
    alt: str
    size: tuple[float, float] = (4.6, 2.9)

    def save(self, path: str | Path, *, theme: str = "light", dpi: int = 150) -> None:
        """Write a PNG, an SVG or a PDF, each with title and alternative text in its metadata.

        Raises:
            LineaError: another ending, an unknown theme.
        """
        path = Path(path)
        if path.suffix not in PLOT_ENDINGS:
            raise LineaError(f"got figure file {str(path)!r}: expected a name that ends in {', '.join(PLOT_ENDINGS)}")
        make_folder(path.parent)
        if path.suffix == ".svg":
            path.write_text(self._svg(theme), encoding="utf-8")
        else:
            path.write_bytes(self.pdf(theme=theme) if path.suffix == ".pdf" else self.png(theme=theme, dpi=dpi))

    def png(self, *, theme: str = "light", dpi: int = 110) -> bytes:
        """The figure as a PNG file."""
        return self._bytes(theme, "png", dpi, {"Title": self.title, "Description": self.alt, "Software": None})

    def pdf(self, *, theme: str = "light") -> bytes:
        """The figure as a PDF file, for papers: texts stay texts."""
        return self._bytes(theme, "pdf", 72, {"Title": self.title, "Subject": self.alt, "CreationDate": None})

    def inline_svg(self, name: str) -> str:
        """The figure as an ``<svg>`` element for an HTML page, whose ink (currentColor) and colours it takes.

        The page may set ``--series-1`` ... ``--series-7``; `SERIES_COLORS` stand in for what it leaves out.

        Args:
            name: letters, digits and hyphens, unlike the name of any other figure of the page.
        """
        svg = self._svg("page", name).partition("<svg")[2].partition(">")
        tag = re.sub(r'\s(?:xmlns(?::\w+)?|version|width|height)="[^"]*"', "", svg[0])
        body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg[2], flags=re.DOTALL)  # would style the page
        body = body.replace(_PAGE_INK, "currentColor")
        for number, color in enumerate(SERIES_COLORS, start=1):
            body = body.replace(color, f"var(--series-{number}, {color})")
        return f'<svg role="img" aria-labelledby="{name}-title {name}-desc"{tag}>{body}'

    def _svg(self, theme: str, name: str = "figure") -> str:
        """SVG with title and description; every id begins with `name`."""
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        svg = self._bytes(theme, "svg", 72, metadata).decode()
        svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
        texts = f'<title id="{name}-title">{escape(self.title)}</title><desc id="{name}-desc">{escape(self.alt)}</desc>'
        head, tag, rest = re.split(r"(<svg[^>]*>)", svg, maxsplit=1)
        return f"{head}{tag}\n {texts}{rest}"

    def _bytes(self, theme: str, kind: str, dpi: int, metadata: dict[str, Any]) -> bytes:
        from matplotlib.figure import Figure

        buffer = io.BytesIO()
        with figure_style(theme) as colors:
            figure = Figure(figsize=self.size)
            self.draw(figure, colors)
            figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        """What a notebook shows: a PNG with its alternative text."""
        picture = base64.b64encode(self.png()).decode()
        return {"image/png": picture, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}
