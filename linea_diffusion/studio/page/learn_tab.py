"""The tab Learn: words in, a style out, seen while it is learned; and the ways to keep it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ...concepts.concept import load_concept
from ...errors import LineaError
from ...maps.facts import Facts
from ...maps.lora.programs import PROGRAMS
from ...training.recipes import recipe_for
from ..keeping import as_lora, as_zip, push
from ..learning import Learning
from ..looking import looks
from ..wording import concept_of, known_concepts, read_concept, targets_of
from ..workbench import STYLES, Workbench, folder_name
from .explore_tab import QUIET, ExploreTab
from .pieces import data_uri, is_small, piece
from .windows import Windows, in_a_sentence

OWN = "words of my own"
SETTINGS = ("iterations", "lr", "rank", "sparsity", "seed")


def learn_tab(windows: Windows, explore: ExploreTab) -> None:
    """Build the tab, within a Blocks."""
    recipe = recipe_for(windows.model.pipe)
    with gr.Row():
        with gr.Column(scale=6, min_width=300):
            live = piece("learn", {})
            keep_panel(windows, explore)
        with gr.Column(scale=5, min_width=280):
            begun = gr.Dropdown(label="Start from", choices=[OWN, *known_concepts(windows.model.name)], value=OWN)
            name = gr.Textbox(label="Name", placeholder="glow", max_lines=1, max_length=60)
            source = gr.Textbox(
                label="Prompts without the style, one a line", lines=4, max_lines=6, max_length=200_000,
                placeholder="a red star\na blue house\n… about 32, as different as what you will draw",
            )  # fmt: skip
            with gr.Row(elem_classes="asked"):
                template = gr.Textbox(label="Template", value="{prompt}, neon", max_lines=1, max_length=300, scale=3)
                fill = gr.Button("Make the targets", scale=0, min_width=160)
            target = gr.Textbox(
                label="The same with it, one a line", lines=4, max_lines=6, max_length=200_000,
                placeholder="a red star, neon\na blue house, neon",
            )  # fmt: skip
            with gr.Accordion("Bring a file of prompts", open=False):
                file = gr.File(
                    label="Text, one prompt a line; or a concept as .toml, .jsonl, .csv",
                    file_types=[".txt", ".toml", ".jsonl", ".csv"], height=110,
                )  # fmt: skip
            with gr.Accordion("Settings", open=False), gr.Row():
                settings = [
                    gr.Number(label=label, value=getattr(recipe, key), precision=whole, min_width=100)
                    for key, label, whole in (
                        ("iterations", "Iterations", 0), ("lr", "Learning rate", None), ("rank", "Rank", 0),
                        ("sparsity", "Share of zeros", None), ("seed", "Training seed", 0),
                    )
                ]  # fmt: skip
            learn = gr.Button("Learn", variant="primary")

    def begin_from(choice: str) -> tuple[Any, ...]:
        if choice == OWN:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        concept = load_concept(choice)
        sides = ("\n".join(side) for side in (concept.source, concept.target))
        return concept.name, *sides, f"{{prompt}}, {concept.name}"

    @in_a_sentence
    def brought(path: str | None) -> tuple[Any, ...]:
        if path is None:
            return gr.skip(), gr.skip(), gr.skip()
        title, sources, targets = read_concept(Path(path))
        return title or Path(path).stem, "\n".join(sources), gr.skip() if targets is None else "\n".join(targets)

    def learned(typed: dict[Any, Any], request: gr.Request) -> Iterator[tuple[Any, ...]]:
        bench = windows.of(request)
        try:
            words = [typed[one] for one in (name, source, target, begun)]
            chosen = {key: typed[one] for key, one in zip(SETTINGS, settings, strict=True)}
            training = begin_training(bench, words, chosen)
        except LineaError as error:
            yield {"error": str(error)}, gr.skip(), gr.skip()
            return
        training.start()
        while training.goes_on:
            training.wait(2.0)
            yield live_value(training), gr.skip(), gr.skip()
        yield from end_training(bench, training)

    def halted(request: gr.Request) -> None:
        bench = windows.of(request)
        if bench.learning is not None:
            bench.learning.stop()

    texts = [name, source, target]
    begun.input(begin_from, begun, [*texts, template], **QUIET)
    fill.click(in_a_sentence(targets_of), [source, template], target, **QUIET)
    file.upload(brought, file, texts, **QUIET)
    learn.click(
        learned, {begun, *texts, *settings}, [live, explore.view, explore.styles], **QUIET,
        concurrency_id="learning", concurrency_limit=1,
    )  # fmt: skip
    live.halt(halted, None, None, **QUIET, queue=False)


def begin_training(bench: Workbench, words: list[Any], settings: dict[str, Any]) -> Learning:
    """A training of a window, not started yet.

    Args:
        bench: the window's.
        words: name, source and target prompts, and what they began from.
        settings: of `SETTINGS`; None is the recipe's.

    Raises:
        LineaError: words that make no concept, settings out of range, or a training that goes on.
    """
    if bench.learning is not None and bench.learning.goes_on:
        raise LineaError("got a second training of this window: expected the first one to end; stop it to keep it")
    title, source, target, begun = words
    concept = concept_of(title, source, target, None if begun == OWN else begun)
    config = recipe_for(bench.model.pipe, concept, **{key: one for key, one in settings.items() if one is not None})
    wanted = folder_name(concept.name)
    names = (wanted, *(f"{wanted}-{number}" for number in range(2, 10_000)))
    folder = next(one for name in names if not (one := bench.model.folder / STYLES / name).exists())
    bench.learning = Learning(bench.model.own_pipe(), concept, config, folder, bench.model.turns)
    return bench.learning


def live_value(training: Learning) -> dict[str, Any]:
    """What there is to see of a training."""
    left = training.seconds_left
    told = f"{training.stage} {training.done}/{training.total}" + ("" if left is None else f", about {left:.0f} s left")
    return {
        "going": training.goes_on, "share": training.share, "told": told, "losses": training.losses,
        "turn": training.cycle, "prompt": training.prompt, "after": training.after, "stopping": training.is_stopping,
        "pictures": [
            {"at": at, "src": data_uri(picture)[0], "small": is_small(picture)} for at, picture in training.pictures
        ],
        "status": "stopping: what is learned is kept" if training.is_stopping else "",
    }  # fmt: skip


def end_training(bench: Workbench, training: Learning) -> Iterator[tuple[Any, ...]]:
    """The style joins the others of the window."""
    value = {**live_value(training), "going": False, "error": training.error, "stopping": False, "status": ""}
    if training.result is None:
        yield value, gr.skip(), gr.skip()
        return
    name = bench.add(training.result, source=str(training.folder))
    after = Facts.of(training.result.metadata).stopped_after
    stopped = f" after {after} iterations" if after is not None else ""
    value["status"] = f"{name} is learned{stopped}, and kept in {training.folder}; turn it in Explore"
    bench.scene, bench.turning = bench.scene.at({name: 0.75}), name
    for look in looks(bench, name, begin=True):
        yield value, look, gr.update(choices=bench.styles, value=name)


def keep_panel(windows: Windows, explore: ExploreTab) -> None:
    """The ways to take a style out of the page."""
    with gr.Accordion("Take a style with you", open=False):
        style = gr.Dropdown(label="Which style", choices=[], interactive=True)
        with gr.Row(elem_classes="asked"):
            files = gr.Button("Its files", min_width=110)
            program = gr.Dropdown(
                label="Program", choices=[(one.title, one.name) for one in PROGRAMS.values()], value="comfyui"
            )  # fmt: skip
            lora = gr.Button("A LoRA file for it", min_width=150)
        ready = gr.File(label="Ready", interactive=False, visible=False)
        said = gr.Markdown(visible=False)
        if windows.model.is_private:
            with gr.Row(elem_classes="asked"):
                repo = gr.Textbox(label="Repository on the Hub", placeholder="you/neon", max_lines=1, scale=3)
                hidden = gr.Checkbox(label="private", value=True, min_width=90)
                share = gr.Button("Push", scale=0, min_width=90)

    @in_a_sentence
    def zipped(name: str | None, request: gr.Request) -> tuple[Any, ...]:
        return gr.update(value=str(as_zip(windows.of(request), name)), visible=True), gr.update(visible=False)

    @in_a_sentence
    def exported(name: str | None, which: str, request: gr.Request) -> tuple[Any, ...]:
        path, report = as_lora(windows.of(request), name, which)
        return gr.update(value=str(path), visible=True), gr.update(value=report, visible=True)

    @in_a_sentence
    def pushed(name: str | None, repo_id: str, private: bool, request: gr.Request) -> Any:
        return gr.update(value=push(windows.of(request), name, repo_id, private=private), visible=True)

    def listed(request: gr.Request) -> Any:
        names = windows.of(request).styles
        return gr.update(choices=names, value=names[-1] if names else None)

    explore.styles.change(listed, None, style, **QUIET)
    files.click(zipped, style, [ready, said], **QUIET)
    lora.click(exported, [style, program], [ready, said], **QUIET)
    if windows.model.is_private:
        share.click(pushed, [style, repo, hidden], said, **QUIET)
