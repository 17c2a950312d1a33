"""The report's page: what it says, and how that becomes one HTML file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ...errors import make_folder
from .figure_style import Plot


@dataclass(frozen=True)
class Picture:
    """One picture of the report.

    Attributes:
        uri: the file as a data URI.
        alt: what it is, in words.
        label: its place on the dial, as shown.
        value: the same as a number, for dials that turn together.
        scores: name -> figure, as shown beside the dial.
        caption: under the picture in the table.
        width: in pixels.
        height: in pixels.
    """

    uri: str
    alt: str
    label: str
    value: float
    scores: dict[str, str]
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Strip:
    """A row of pictures; None where a column has none."""

    label: str
    note: str
    pictures: Sequence[Picture | None]


@dataclass(frozen=True)
class Slider:
    """A picture with a slider over one strip; over several strips it has a second slider, named `across`."""

    label: str
    note: str
    strips: Sequence[int]
    across: str = ""


@dataclass(frozen=True)
class CaptionedPlot:
    """A plot with words below it."""

    plot: Plot
    title: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Numbers, as texts; the first `keys` columns name the row, and `note` says how they are computed."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: int = 1
    note: str = ""


@dataclass(frozen=True)
class Section:
    """Figures, then tables."""

    title: str
    text: str = ""
    figures: Sequence[CaptionedPlot] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class FactTable:
    """Settings under a heading."""

    title: str
    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """All that a report shows. Every text is plain text; `html` escapes it.

    Attributes:
        title: of the page.
        lead: a sentence under it.
        columns: heads of the table of pictures.
        along: what the columns are, such as ``strength``.
        strips: rows of the table.
        dials: over the strips.
        together: how many strips in turn belong together, such as the methods of one prompt: their dials stand in a row
            of their own where there is room, and a line is between them and the next.
        small: pictures are enlarged without smoothing.
        pictures_note: above the table.
        sections: figures and tables.
        facts: settings.
        command: a command line that makes it again.
    """

    title: str
    lead: str
    columns: Sequence[str] = ()
    along: str = "strength"
    strips: Sequence[Strip] = ()
    dials: Sequence[Slider] = ()
    together: int = 1
    small: bool = False
    pictures_note: str = ""
    sections: Sequence[Section] = ()
    facts: Sequence[FactTable] = ()
    command: str = ""


def html(page: Page) -> str:
    """The page as one HTML file that asks for nothing from outside; its policy (CSP) forbids it to."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from ... import __version__

    folder = resources.files(__package__)
    template, style, script = (
        folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "style.css", "script.js")
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment.from_string(template).render(
        page=page,
        style=Markup(style),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        inline=lambda plot, name: Markup(plot.inline_svg(name)),
        version=__version__,
    )


def save_plots(page: Page, folder: str | Path, ending: str) -> None:
    """Save every plot of a page as a file of its own, named after its title.

    Args:
        page: of `grid_page` or `evaluation_page`.
        folder: made when missing.
        ending: ``.pdf``, ``.svg`` or ``.png``.

    Raises:
        LineaError: another ending, or a folder that cannot be made.
    """
    plots = [figure.plot for section in page.sections for figure in section.figures]
    names = [re.sub(r"\W+", "-", plot.title.casefold()).strip("-") for plot in plots]
    for number, (name, plot) in enumerate(zip(names, plots, strict=True)):
        again = names[:number].count(name)
        plot.save(Path(folder) / f"{name}{f'-{again + 1}' if again else ''}{ending}")


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
