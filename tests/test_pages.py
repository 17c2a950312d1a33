"""The README and the pages of the site: every block of code runs, and what cannot run here is checked as far as it can.

A page's blocks run one after the other in one folder, Python and commands alike. What says ``<!-- not run: ... -->``,
and commands that serve or take a model that is not here, are read only: see `pages`.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from benchmarks.__main__ import names
from linea_diffusion import shapeland

from .pages import ROOT, check_command, check_option, check_options, check_python, check_script, check_tool

sys.path.insert(0, str(ROOT / "docs" / "site"))

from blocks import Block, blocks, commands, run
from pictures import shown
from reference import commands_page

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHORT = "TrainingConfig(iterations=2, batch_size=4, num_inference_steps=1, calibrate=False, stretch=1.0)"
SHORTER = {
    "README": {"train_steering_maps(pipe, concept)": f"train_steering_maps(pipe, concept, {SHORT})"},
    "tutorial": {"train_steering_maps(pipe, glow)": f"train_steering_maps(pipe, glow, {SHORT})"},
    "language_models": {"iterations=20": "iterations=2"},
}
"""Page -> old text, which must be in its code once, -> new text: the same calls, not at full length."""
FEW = {
    "train": "--iterations 2 --batch-size 4 --steps 1 --modules text-attention --no-calibrate --set stretch=1.0",
    "train --task text": "--iterations 2",
    "calibrate": "--steps 1 --points 3 --source few.txt",
}
"""Kind of command -> options that are added to it, so that it does little."""
WHOLE = ("explanation",)
"""Pages whose code looks at more than one step of a picture."""
LONG = ("demo", "studio")
"""Commands that take minutes or until somebody ends them; each has tests of its own."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to run a page in, but for what a reader would have: prompts, a mask; pictures take one step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    prompts = [f"a {color} {thing}" for thing in ("heart", "fish", "house") for color in ("red", "blue", "green")]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    (tmp_path / "few.txt").write_text("\n".join(prompts[:2]))
    (tmp_path / "jobs.jsonl").write_text(json.dumps({"prompt": "a red heart"}))
    Image.new("L", (2, 1), 255).save(tmp_path / "mask.png")
    return tmp_path


def before_maps(place: Path) -> dict[str, object]:
    """Two vectors, and a hook of ml-lineas as its file is."""
    w, b = torch.full((64,), 1.5), torch.ones(64)
    (place / "hooks").mkdir()
    torch.save({"w": w, "b": b}, place / "hooks" / "unet.mid_block.attentions.0:0.pt")
    return {"w": w, "b": b}


def before_scaling(place: Path) -> dict[str, object]:
    """The jobs that the page shows."""
    (jobs,) = (block.code for block in blocks(ROOT / "docs" / "scaling.md") if block.language == "json")
    (place / "jobs.jsonl").write_text(jobs)
    return {}


def before_scores(place: Path) -> dict[str, object]:
    """Two tables of the same pictures."""
    for name, figure in {"evaluation/evaluation.csv": "truth_amount", "grid/scores.csv": "clip_style_cosine"}.items():
        (place / name).parent.mkdir()
        (place / name).write_text(f"prompt,style,strength,seed,{figure}\na red heart,neon,0.5,1,0.3\n")
    return {}


BEFORE = {"maps": before_maps, "scaling": before_scaling, "scores": before_scores}
"""Page -> what makes the files that its reader has, and gives the names that its code begins with."""


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_code_runs(page, place, monkeypatch, linea):
    if page.stem not in WHOLE:
        for model, usual in shapeland.DEFAULT_ARGUMENTS.items():
            monkeypatch.setitem(shapeland.DEFAULT_ARGUMENTS, model, {**usual, "num_inference_steps": 1})
    given = BEFORE.get(page.stem, lambda _: {})(place)
    rest = dict(SHORTER.get(page.stem, {}))
    for block in blocks(page):
        match block.language:
            case "python" if block.reason:
                check_python(block.code, set(given))
            case "python":
                run(shorter(block, rest), page, given)
            case "":
                terminal(block, linea)
            case "json":
                assert all(json.loads(line) for line in block.code.splitlines())
            case "yaml":
                check_script(yaml.safe_load(block.code)["spec"]["entrypoint"])
            case language:
                assert language == "text", f"{page.name}, line {block.line}: nobody checks {language}"
    assert not rest, f"{page.name} has no longer {rest}"
    assert all((place / name).is_file() for name in shown(page))


def shorter(block: Block, rest: dict[str, str]) -> Block:
    """A block with what makes it cheap; each replacement is used once."""
    code = block.code
    for old in [old for old in rest if old in code]:
        assert code.count(old) == 1
        code = code.replace(old, rest.pop(old))
    return Block("python", "from linea_diffusion import TrainingConfig; " * (code != block.code) + code, block.line)


def terminal(block: Block, linea) -> None:
    """Run a terminal's block, line by line."""
    if block.reason:
        check_script(block.code)
        return
    for line in (one.removeprefix(".venv/bin/") for one in commands(block.code)):
        if not line.startswith("linea "):
            check_tool(line)
            continue
        words = shlex.split(line)[1:]
        if words != ["--help"]:
            check_command(line)
        if words[0] not in LONG and is_here(words):
            kind = f"{words[0]} --task text" if "--task" in words else words[0]
            code, _, err = linea(*words, *shlex.split(FEW.get(kind, "")))
            assert code == 0, f"{line}: {err}"


def is_here(words: list[str]) -> bool:
    """Whether a command takes a model that is in the package, and none of real size."""
    if any(one.startswith("random-") for one in words):
        return False
    return "--model" not in words or words[words.index("--model") + 1] in shapeland.MODELS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_sentences_files_and_pictures_are_there(page):
    text = page.read_text(encoding="utf-8")
    for place in re.findall(r"\b(?:tests|benchmarks|examples|notebooks)/[\w/]+\.(?:py|md|ipynb)", text):
        assert (ROOT / place).is_file(), f"{page.name} names {place}"
    for place in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", text):
        assert (page.parent / place).is_file(), f"{page.name} shows {place}"
    assert {*re.findall(r"`python -m benchmarks (\w+)", text)} <= names().keys()
    for line in re.findall(r"`(linea [a-z]+[^`]*)`", text):
        check_options(line)
    for name in re.findall(r"`(--[a-z][\w-]*)", text):
        check_option(name)


def test_examples_of_help_are_commands():
    examples = [
        line for block in re.findall(r"^```\n(.*?)^```", commands_page(), re.S | re.M) for line in commands(block)
    ]
    assert len(examples) > 20
    for line in examples:
        check_command(line)
