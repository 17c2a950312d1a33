"""The site: pages of this folder, figures' tables, and a reference that is made of the code itself."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "site"))

import reference  # of the folder site/

import linea_diffusion

project = "linea-diffusion"
copyright = "linea-diffusion contributors"
release = linea_diffusion.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["site", "_build"]
nitpicky = False

html_theme = "furo"
html_title = "linea-diffusion"
html_static_path = ["site/static"]
html_favicon = "site/static/icon.svg"
html_css_files = ["site.css"]
html_js_files = ["access.js"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["colon_fence", "attrs_block", "attrs_inline"]
myst_heading_anchors = 4
highlight_language = "bash"
smartquotes = False  # options keep their two hyphens, commands their quotes
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

_ROOT = Path(__file__).parents[1]


def _links_within(app: Any, name: str, source: list[str]) -> None:
    """Pages name files of the repository as GitHub finds them; tables of figures are pages here, the rest is not."""
    text = (
        source[0].replace("](../benchmarks/results/", "](generated/results/").replace("](../README.md)", "](index.md)")
    )
    source[0] = re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", text)


def _as_rest(app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings name code in single backticks, and use bars for sizes."""
    for number, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        plain = [re.sub(r"(?<![:`\w])`([^`]+)`(?!`)", r"``\1``", part).replace("|", r"\|") for part in parts[::2]]
        lines[number] = "".join(one for pair in zip(plain, [*parts[1::2], ""], strict=True) for one in pair)


def setup(app: Any) -> None:
    """Make the pages that are made of the code, and listen."""
    reference.write(_ROOT / "docs" / "generated", _ROOT)
    app.connect("source-read", _links_within)
    app.connect("autodoc-process-docstring", _as_rest, priority=400)  # before Google's sections are read
