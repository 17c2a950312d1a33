"""The notebooks run, with replacements that must be found; what is saved in them reads well on a page."""

from __future__ import annotations

import ast
import base64
import io
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from PIL import Image

FOLDER = Path(__file__).parent.parent / "notebooks"
SHORT = "iterations=1, num_inference_steps=1, batch_size=4, stretch=1.0"
ONE_STEP = {
    "pipe.set_progress_bar_config(disable=True)": "pipe.set_progress_bar_config(disable=True); "
    "pipe.default_arguments['num_inference_steps'] = 1"
}
QUICK = {"TrainingConfig()": f"TrainingConfig({SHORT})", **ONE_STEP}
REPLACEMENTS = {
    "01_quickstart.ipynb": QUICK,
    "02_exploring_styles.ipynb": QUICK,
    "03_composing_and_removing.ipynb": QUICK,
    "04_sparsity.ipynb": {
        "TrainingConfig(sparsity=sparsity)": f"TrainingConfig(sparsity=sparsity, {SHORT})",
        ', "a yellow house", "a green fish", "a red mushroom", "a blue tree"]': "]",
        **ONE_STEP,
    },
    "05_your_own_model.ipynb": {
        '"iterations": 2, "num_inference_steps": 2': '"iterations": 1, "batch_size": 4, "num_inference_steps": 1',
        "config = recipe_for(pipe, concept)": f"config = recipe_for(pipe, concept, {SHORT})",
        **ONE_STEP,
    },
    "06_batches.ipynb": QUICK,
}
"""Notebook -> old text, which must be in its code once, -> new text."""

FILES = {
    "01_quickstart.ipynb": ["neon/steering.safetensors", "neon.html"],
    "02_exploring_styles.ipynb": ["styles.png", "neon.gif", "styles.html"],
    "03_composing_and_removing.ipynb": ["both/steering.safetensors"],
    "04_sparsity.ipynb": ["neon/steering.safetensors"],
    "05_your_own_model.ipynb": [],
    "06_batches.ipynb": ["batch/metadata.jsonl"],
}
"""Notebook -> what it leaves."""


def _code(name: str) -> list[str]:
    return [cell["source"] for cell in nbformat.read(FOLDER / name, as_version=4).cells if cell["cell_type"] == "code"]


def _replaced(name: str) -> list[str]:
    cells = _code(name)
    for old, new in REPLACEMENTS[name].items():
        assert sum(cell.count(old) for cell in cells) == 1, f"{old!r} is not in {name} once"
        cells = [cell.replace(old, new) for cell in cells]
    return cells


def _run(cells: list[str], name: str) -> tuple[dict[str, object], list[object]]:
    """Run cells one after the other: the names they leave, and what the last line of each shows."""
    names: dict[str, object] = {}
    shown = []
    for number, cell in enumerate(cells):
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{name}, cell {number}", "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), f"{name}, cell {number}", "eval"), names))
    return names, [value for value in shown if value is not None]


def test_every_notebook_is_tested():
    assert {file.name for file in FOLDER.glob("*.ipynb")} == set(REPLACEMENTS) == set(FILES)


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, shown = _run(_replaced(name), name)
    for value in shown:
        if isinstance(value, Image.Image):
            value.save(io.BytesIO(), "PNG")
        elif hasattr(value, "_repr_mimebundle_"):
            value._repr_mimebundle_()
    assert shown
    for file in FILES[name]:
        assert (tmp_path / file).stat().st_size > 0


@pytest.mark.parametrize("widgets", [True, False])
def test_exploring_has_widgets_or_a_grid(widgets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not widgets:
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
    cells = _replaced("02_exploring_styles.ipynb")
    until = next(number for number, cell in enumerate(cells) if cell.startswith("explore("))
    cells[1] = 'pipe.load_steering("one", "neon"); pipe.load_steering("one", "watercolor")'
    from linea_diffusion import SteeringMaps

    SteeringMaps({"unet.mid_block.resnets.0.norm1": 112}).save_pretrained("one")
    _, shown = _run(cells[: until + 1], "02_exploring_styles.ipynb")
    assert isinstance(shown[-1], Image.Image) != widgets
    assert hasattr(shown[-1], "children") == widgets


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_a_notebook_reads_well_as_it_is(name):
    file = FOLDER / name
    book = nbformat.read(file, as_version=4)
    nbformat.validate(book)
    assert file.stat().st_size < 2**20
    cells = [cell for cell in book.cells if cell["cell_type"] == "code"]
    assert len(cells) <= 15
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "not run from top to bottom"
    outputs = [output for cell in cells for output in cell["outputs"]]
    kinds = {(output["output_type"], output.get("name")) for output in outputs}
    assert kinds <= {("stream", "stdout"), ("display_data", None), ("execute_result", None)}
    shown = [output["data"] for output in outputs if "data" in output]
    assert not any("widget" in kind for data in shown for kind in data)
    assert sum("image/png" in data for data in shown) >= 2
    for data in shown:
        if "image/png" in data:
            Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).verify()
    words = json.dumps([{k: v for k, v in data.items() if not k.startswith("image/")} for data in shown])
    words += "".join(output.get("text", "") for output in outputs)
    assert not re.search(r"/(?:home|root|tmp|work|usr|Users)/|\d%\||Warning|20\d\d-\d\d-\d\d", words)


def test_links_between_notebooks_lead_somewhere():
    for file in FOLDER.glob("*.ipynb"):
        for cell in nbformat.read(file, as_version=4).cells:
            for link in re.findall(r"\]\(([^)h#][^)]*)\)", cell["source"] if cell["cell_type"] == "markdown" else ""):
                assert (FOLDER / link).exists(), f"{link} in {file.name}"
