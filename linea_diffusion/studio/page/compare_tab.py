"""The tab Compare: which of two is preferred, by somebody who is not told which is which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ...errors import LineaError
from ..study import IN_WORDS, study_of, study_value
from ..wording import lines_of
from ..work import ERRORS, said
from .explore_tab import QUIET, ExploreTab
from .grid_tab import example_prompts
from .pieces import piece
from .windows import Windows


def compare_tab(windows: Windows, explore: ExploreTab) -> None:
    """Build the tab, within a Blocks."""
    with gr.Row():
        with gr.Column(scale=7, min_width=300):
            pair = piece("pair", {})
        with gr.Column(scale=3, min_width=260):
            with gr.Row():
                first = gr.Dropdown(label="One", choices=[], interactive=True, scale=3, min_width=170)
                one = gr.Number(label="Its strength", value=1.0, scale=2, min_width=110)
            with gr.Row():
                second = gr.Dropdown(label="The other", choices=[], interactive=True, scale=3, min_width=170)
                other = gr.Number(label="Strength of the other", value=1.0, scale=2, min_width=110)
            prompts = gr.Textbox(
                label="Prompts, one a line", lines=4, max_lines=10, max_length=100_000, value=example_prompts(windows)
            )  # fmt: skip
            seeds = gr.Number(label="Pairs for each prompt", value=2, precision=0, minimum=1, maximum=100)
            begin = gr.Button("Begin", variant="primary")

    def begun(typed: dict[Any, Any], request: gr.Request) -> Iterator[dict[str, Any]]:
        bench = windows.of(request)
        try:
            sides = [(typed[name], typed[strength]) for name, strength in ((first, one), (second, other))]
            bench.study = study_of(bench, sides, lines_of(typed[prompts] or ""), typed[seeds])
            yield study_value(bench)
        except (LineaError, *ERRORS) as error:
            yield {"error": said(error)}

    def chosen(event: gr.EventData, request: gr.Request) -> Iterator[dict[str, Any]]:
        bench, told = windows.of(request), dict(event._data or {})
        try:
            if bench.study is None:
                raise LineaError("got a choice and no comparison: expected one to begin first")
            if told.get("number") == len(bench.study.chosen):  # a second click on the same pair is none
                bench.study.choose(str(told.get("choice")))
            yield study_value(bench)
        except (LineaError, *ERRORS) as error:
            yield {"error": said(error)}

    def listed(request: gr.Request) -> tuple[Any, Any]:
        names = windows.of(request).styles
        choices = [*names, *(f"{name}{IN_WORDS}" for name in names)]
        words = choices[len(names) :]
        return gr.update(choices=choices, value=_first(choices)), gr.update(choices=choices, value=_first(words))

    explore.styles.change(listed, None, [first, second], **QUIET)
    begin.click(begun, {first, one, second, other, prompts, seeds}, pair, **QUIET)
    pair.choose(chosen, None, pair, **QUIET, trigger_mode="multiple")  # else one that comes early is lost


def _first(names: list[str]) -> str | None:
    return names[0] if names else None
