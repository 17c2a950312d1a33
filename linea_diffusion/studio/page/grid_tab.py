"""The tab Grid: prompts, styles or seeds against strengths, or two styles against each other; and files of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ...errors import LineaError
from ...steering.parsing import STRENGTHS_FORM
from ..gridding import FORMS, KINDS, grid_file, grid_value, plan_of, render_grid
from ..wording import lines_of
from ..work import Work
from .explore_tab import QUIET, ExploreTab
from .pieces import piece
from .windows import Windows, in_a_sentence


def grid_tab(windows: Windows, explore: ExploreTab) -> None:
    """Build the tab, within a Blocks."""
    with gr.Row():
        with gr.Column(scale=7, min_width=300):
            table = piece("table", {})
        with gr.Column(scale=3, min_width=260):
            kind = gr.Radio(label="Rows", choices=list(KINDS), value=KINDS[0])
            prompts = gr.Textbox(
                label="Prompts, one a line", lines=3, max_lines=8, max_length=100_000, value=example_prompts(windows)
            )  # fmt: skip
            styles = gr.CheckboxGroup(label="Styles", choices=[])
            strengths = gr.Textbox(label="Strengths", value="0:1:5", max_lines=1, max_length=200, info=_FORM)
            seed = gr.Number(label="Seed", value=0, precision=0, minimum=0)
            scores = gr.Checkbox(label="Score the pictures by CLIP", value=windows.model.scorer is not None)
            make = gr.Button("Make the grid", variant="primary")
            with gr.Row(elem_classes="asked"):
                form = gr.Dropdown(label="As", choices=list(FORMS), value=FORMS[0], min_width=120)
                save = gr.Button("Get the file", min_width=120)
            ready = gr.File(label="Ready", interactive=False, visible=False)

    def made(typed: dict[Any, Any], request: gr.Request) -> Iterator[dict[str, Any]]:
        bench = windows.of(request)
        try:
            asked = [typed[one] for one in (styles, strengths, seed)]
            plan = plan_of(bench, typed[kind], lines_of(typed[prompts] or ""), *asked)
        except LineaError as error:
            yield {"error": str(error)}
            return
        work = Work(lambda: render_grid(bench, plan, scores=bool(typed[scores])))
        work.start()
        while work.goes_on:
            told = f"{work.stage} {work.done}/{work.total}"
            yield {"going": True, "share": work.done / max(1, work.total), "told": told}
            work.wait(2.0)
        yield grid_value(work.result) if work.result else {"error": work.error}

    def halted(request: gr.Request) -> None:
        windows.of(request).halt.ask()

    def listed(request: gr.Request) -> Any:
        bench = windows.of(request)
        return gr.update(choices=bench.styles, value=[bench.turning] if bench.turning else [])

    @in_a_sentence
    def saved(which: str, request: gr.Request) -> Any:
        return gr.update(value=str(grid_file(windows.of(request), which)), visible=True)

    explore.styles.change(listed, None, styles, **QUIET)
    make.click(made, {kind, prompts, styles, strengths, seed, scores}, table, **QUIET)
    table.halt(halted, None, None, **QUIET, queue=False)
    save.click(saved, form, ready, **QUIET)


_FORM = STRENGTHS_FORM.partition(", or by style")[0]


def example_prompts(windows: Windows) -> str:
    """Some that a model knows, one a line."""
    if windows.model.name.startswith("shapeland"):
        return "a red heart\na blue fish\na green tree"
    return "a red apple on a wooden table\na cat on a sofa\na street in the rain"
