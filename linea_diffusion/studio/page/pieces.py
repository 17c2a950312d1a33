"""Pieces of the page that are our own: a template, a script that fills it, and values that both understand."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import gradio as gr

from ...grids.report.inline_images import data_uri, is_small

__all__ = ["data_uri", "is_small", "piece", "text_of"]


@cache
def text_of(name: str) -> str:
    """A file beside this one."""
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def piece(name: str, value: Any = None) -> gr.HTML:
    """A part of the page whose value is what its script shows: all texts come in as text, never as HTML.

    Args:
        name: of the template and the script.
        value: to begin with, as JSON holds it.
    """
    return gr.HTML(
        value, html_template=text_of(f"{name}.html"), js_on_load=text_of(f"{name}.js"), apply_default_css=False,
        elem_id=f"studio-{name}", elem_classes="studio",
    )  # fmt: skip
