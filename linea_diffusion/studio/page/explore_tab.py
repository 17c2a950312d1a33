"""The tab Explore: one picture, and a dial for every style."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from ...errors import LineaError, as_whole, short
from ...maps.steering_maps import SteeringMaps
from ...maps.storage import CONFIG, WEIGHTS
from ..looking import looks, set_by_hand
from ..workbench import Workbench
from .pieces import piece
from .windows import Windows, in_a_sentence

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Events whose progress the pieces show themselves; no event is a service for programs."""


@dataclass(frozen=True)
class ExploreTab:
    """What other tabs and the page need of it.

    Attributes:
        view: the picture and its dials.
        prompt: what is drawn.
        styles: a choice of one of the window's styles.
        begin: fills all three for a window.
    """

    view: gr.HTML
    prompt: gr.Textbox
    styles: gr.Dropdown
    begin: Any


def explore_tab(windows: Windows) -> ExploreTab:
    """Build the tab, within a Blocks."""
    with gr.Row(elem_classes="asked"):
        prompt = gr.Textbox(label="Prompt", lines=1, max_lines=3, scale=6, max_length=2000)
        seed = gr.Number(label="Seed", value=0, precision=0, minimum=0, scale=1, min_width=90)
        draw = gr.Button("Draw", variant="primary", scale=0, min_width=90)
        other = gr.Button("Another seed", scale=0, min_width=130)
    view = piece("dial", {})
    with gr.Accordion("Styles: bring one, or put one away", open=False), gr.Row():
        files = gr.File(
            label=f"Files of a style: {WEIGHTS} and {CONFIG}, or one LoRA file", file_count="multiple",
            file_types=[".safetensors", ".json"], height=120,
        )  # fmt: skip
        with gr.Column():
            styles = gr.Dropdown(label="Style", choices=[], interactive=True)
            away = gr.Button("Put it away")

    def begin(request: gr.Request) -> Iterator[tuple[Any, ...]]:
        bench = windows.of(request)
        for value in looks(bench, bench.turning, begin=True):
            yield value, bench.scene.prompt, bench.scene.seed, gr.update(choices=bench.styles, value=_last(bench))

    def drawn(words: str, number: Any, request: gr.Request) -> Iterator[dict[str, Any]]:
        bench = windows.of(request)
        if not words.strip() or as_whole(number) is None:
            yield {
                "error": f"got prompt {short(words)} and seed {short(number)}: expected some words, and a whole number"
            }
            return
        bench.scene = replace(bench.scene, prompt=words.strip(), seed=int(number))
        yield from looks(bench, bench.turning)

    def turned(event: gr.EventData, request: gr.Request, *, keep: bool = False) -> Iterator[dict[str, Any]]:
        bench, told = windows.of(request), dict(event._data or {})
        try:
            turning = set_by_hand(bench, told)
        except LineaError as error:
            yield {"error": str(error), "number": told.get("number")}
            return
        asked = {name: bool(told.get(name)) for name in ("scores", "fill")}
        for value in looks(bench, turning, keep=keep, **asked):
            yield {**value, "number": told.get("number")}

    def kept(event: gr.EventData, request: gr.Request) -> Iterator[dict[str, Any]]:
        yield from turned(event, request, keep=True)

    def halted(request: gr.Request) -> None:
        windows.of(request).halt.ask()

    @in_a_sentence
    def brought(paths: Sequence[str] | None, request: gr.Request) -> tuple[Any, ...]:
        bench = windows.of(request)
        bench.turning = bring(bench, [Path(path) for path in paths or []])
        return _after(bench)

    @in_a_sentence
    def put_away(name: str | None, request: gr.Request) -> tuple[Any, ...]:
        bench = windows.of(request)
        if name:
            bench.remove(name)
        return _after(bench)

    for event in (prompt.submit, draw.click):
        event(drawn, [prompt, seed], view, **QUIET, trigger_mode="always_last")
    other.click(lambda: random.randrange(2**31), None, seed, **QUIET).then(drawn, [prompt, seed], view, **QUIET)
    view.turn(turned, None, view, **QUIET, trigger_mode="multiple")
    view.keep(kept, None, view, **QUIET, trigger_mode="multiple")
    view.halt(halted, None, None, **QUIET, queue=False)
    files.upload(brought, files, [view, styles, files], **QUIET)
    away.click(put_away, styles, [view, styles, files], **QUIET)
    return ExploreTab(view, prompt, styles, (begin, [view, prompt, seed, styles]))


def _last(bench: Workbench) -> str | None:
    return bench.styles[-1] if bench.styles else None


def _after(bench: Workbench) -> tuple[Any, ...]:
    """View, choice of styles and files, when the styles of a window have changed."""
    *_, value = looks(bench, bench.turning, begin=True)
    return value, gr.update(choices=bench.styles, value=_last(bench)), None


def bring(bench: Workbench, files: Sequence[Path]) -> str:
    """Load a style from files that somebody uploaded, by the checks that all maps go through; returns its name.

    Raises:
        LineaError: they are no maps, no LoRA file of such, or of another model.
    """
    by_name = {file.name: file for file in files}
    if len(files) == 1 and files[0].suffix == ".safetensors" and files[0].name != WEIGHTS:
        with bench.model.turns.turn():
            maps = SteeringMaps.from_lora(files[0], bench.pipe)
        return bench.add(maps, files[0].stem[:60])
    if by_name.keys() != {WEIGHTS, CONFIG}:
        raise LineaError(f"got {', '.join(by_name) or 'no files'}: expected {WEIGHTS} and {CONFIG}, both at once")
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        for name, file in by_name.items():
            shutil.copyfile(file, Path(folder) / name)
        return bench.add(SteeringMaps.from_pretrained(folder))
