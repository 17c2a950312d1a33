"""The notebooks run, with replacements that must be found, and are small enough to read online."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
REPLACEMENTS = {
    "01_quickstart.ipynb": {"TrainingConfig()": "TrainingConfig(iterations=2, num_inference_steps=1, batch_size=4)"},
}


def test_every_notebook_is_tested():
    assert {file.name for file in FOLDER.glob("*.ipynb")} == set(REPLACEMENTS)


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = FOLDER / name
    assert file.stat().st_size < 2**20
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) <= 15
    source = "\n\n".join("".join(cell["source"]) for cell in cells)
    for old, new in REPLACEMENTS[name].items():
        assert source.count(old) == 1, f"{old!r} is not in {name} once"
        source = source.replace(old, new)
    names: dict[str, object] = {}
    exec(compile(source, name, "exec"), names)
    assert (tmp_path / "neon" / "steering.safetensors").exists()
    assert len(names["grid"].cells) == 15
