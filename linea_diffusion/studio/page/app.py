"""The page as a whole: its tabs, its look, and how it is served."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from ...errors import LineaError, reason
from ..workbench import SharedModel
from .compare_tab import compare_tab
from .explore_tab import QUIET, explore_tab
from .grid_tab import grid_tab
from .learn_tab import learn_tab
from .pieces import text_of
from .windows import Windows

LARGEST_UPLOAD = "64mb"
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def build(model: SharedModel) -> tuple[gr.Blocks, Windows]:
    """The page, not served yet.

    Args:
        model: that all windows share.
    """
    windows = Windows(model)
    with gr.Blocks(title="linea studio", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(
            {"model": model.name}, elem_id="studio-title", apply_default_css=False,
            html_template="<h1>linea studio</h1><p></p>",
            js_on_load="element.querySelector('p').textContent = `styles on ${props.value.model}`;",
        )  # fmt: skip
        with gr.Tabs():
            with gr.Tab("Explore", id="explore"):
                explore = explore_tab(windows)
            with gr.Tab("Grid", id="grid"):
                grid_tab(windows, explore)
            with gr.Tab("Learn", id="learn"):
                learn_tab(windows, explore)
            with gr.Tab("Compare", id="compare"):
                compare_tab(windows, explore)
        page.load(*_load(explore.begin), **QUIET)
        page.unload(windows.drop)
    page.queue(default_concurrency_limit=8, max_size=256)
    return page, windows


def _load(begin: tuple[Any, list[Any]]) -> tuple[Any, None, list[Any]]:
    work, outputs = begin
    return work, None, outputs


@contextmanager
def served(
    model: SharedModel, *, host: str = "127.0.0.1", port: int | None = None, share: bool = False
) -> Iterator[str]:
    """Within the context the page is served; yields its address.

    Args:
        model: that all windows share.
        host: who can reach it: 127.0.0.1 for this machine alone.
        port: the first free one from 7860 on when left out.
        share: whether Gradio lends it a public address.

    Raises:
        LineaError: it cannot be served there.
    """
    page, windows = build(model)
    with tempfile.TemporaryDirectory(prefix="linea-studio-uploads-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page.GRADIO_CACHE = uploads
        try:
            _, local, public = page.launch(
                server_name=host, server_port=port, share=share, prevent_thread_lock=True, quiet=True, show_error=True,
                footer_links=[], run_history=False, ssr_mode=False, max_file_size=LARGEST_UPLOAD, mcp_server=False,
                pwa=False, theme=_theme(), css=text_of("studio.css"), enable_monitoring=False,
            )  # fmt: skip
        except (OSError, ValueError) as error:  # a port that is taken, or a machine that does not answer itself
            raise LineaError(
                f"got no page at {host}:{port or 'any port'} ({reason(error)}): expected a free port of this machine; "
                "choose another with --port, or try again when it is less busy"
            ) from None
        try:
            yield public or local
        finally:
            windows.close()
            page.close(verbose=False)


def _theme() -> Any:
    """Gradio's plainest, in the colours of our reports, with the reader's own fonts."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.sky, neutral_hue=gr.themes.colors.zinc, font=_FONTS, font_mono=_MONO,
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_400",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700", block_title_text_color_dark="*neutral_200",
        button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700", button_primary_text_color="white",
        color_accent="*primary_700", button_large_text_size="*text_md", button_large_text_weight="550",
    )  # fmt: skip
