"""Benchmarks through their one entry: each says what it does, and the smallest is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as entry
from benchmarks import batch_soak, cost, workbench

NAMES = entry.names()


@pytest.fixture(autouse=True)
def threads():
    """Benchmarks choose their own number."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_without_a_name_they_are_listed(capsys):
    entry.run([])
    listed = capsys.readouterr().out
    tables = {"judge_table", "paper_table", "words_table"}
    shared = {"workbench", "measured", "paper_setup", "__init__", "__main__", *tables}
    assert {path.stem for path in Path(entry.__file__).parent.glob("*.py")} == {*NAMES, *shared}
    assert all(f"{name} " in listed and line in listed for name, line in NAMES.items())


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_does_and_how_it_is_called(name, capsys):
    with pytest.raises(SystemExit) as end:
        entry.run([name, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert NAMES[name] in text
    assert f"python -m benchmarks {name}" in text.partition("options:")[0]


def test_an_unknown_name_is_one_line():
    with pytest.raises(SystemExit, match="got benchmark 'dail': expected one of ablations"):
        entry.run(["dail"])


def test_the_smallest_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_soak, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmarks", "batch_soak", "plan", "--lines", "30"])
    entry.run(["batch_soak", "plan", "--lines", "30"])
    assert capsys.readouterr().out.startswith("`python -m benchmarks batch_soak plan --lines 30`, 2")


def test_a_table_says_how_it_was_made(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmarks", "dial", "--maps", "runs/{style}"])
    rows = workbench.table(("a", "b"), [(1, "x")])
    workbench.write(tmp_path / "new" / "dial.md", "The dial", "seed 0.", rows)
    title, _, about, _, *lines = (tmp_path / "new" / "dial.md").read_text().splitlines()
    assert title == "# The dial"
    assert about.startswith("`python -m benchmarks dial --maps 'runs/{style}'`, 2")
    assert about.endswith(f"torch {torch.__version__}; seed 0.")
    assert lines == ["| a | b |", "| --- | --- |", "| 1 | x |"]


def test_the_first_model_has_the_plain_name():
    assert workbench.results_of("shapeland-unet", "dial.md").name == "dial.md"
    assert workbench.results_of("shapeland-dit", "dial.md").name == "dial_shapeland-dit.md"


def test_settings_are_read_as_python_writes_them():
    given = ["rank=8", "strengths=(1.0, 0.5)", "pairing=law", "batch_size=None"]
    assert workbench.settings_of(given) == {"rank": 8, "strengths": (1.0, 0.5), "pairing": "law", "batch_size": None}


def test_what_an_iteration_costs_is_measured_against_a_plain_generation():
    plain, iteration = cost.measure({"in micro-batches of 1": {"micro_batch_size": 1}}, 1, 2, num_inference_steps=1)
    assert (plain.name, iteration.name) == ("generation without gradients", "iteration in micro-batches of 1")
    assert plain.ratio == 1 < iteration.ratio
    (memory,) = cost.measure({"in one piece": {}}, 0, 2, num_inference_steps=1)
    assert memory.ratio is None
    assert memory.peak_mib > 1
