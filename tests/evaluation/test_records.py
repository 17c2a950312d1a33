"""Records of an evaluation in files, also of earlier names."""

from __future__ import annotations

import json

import pytest

from linea_diffusion.evaluation.records import (
    Record,
    curves,
    figures_in,
    read_records,
    rows_of,
    summarise,
    units_of,
    write_records,
)


def test_earlier_files_are_read_by_the_names_of_now(tmp_path):
    head = [
        "style", "method", "strength", "prompt", "clip_style (softmax against the neutral text)",
        "clip_text (raw cosine)", "clip_prompt (raw cosine)", "content (raw image cosine)", "truth_style",
        "truth_amount", "truth_object", "truth_color",
    ]  # fmt: skip
    line = ["neon", "lineas", "0.5", "a red heart", "0.9", "0.4", "0.3", "0.7", "nan", "nan", "nan", "nan"]
    (tmp_path / "old.csv").write_text(",".join(head) + "\n" + ",".join(line) + "\n")
    scores = {
        "clip_style_probability": 0.9, "clip_style_cosine": 0.4, "clip_prompt_cosine": 0.3,
        "similarity_to_unsteered": 0.7,
    }  # fmt: skip
    expected = Record("neon", "lineas", 0.5, "a red heart", scores)
    assert read_records(tmp_path / "old.csv") == [expected]
    # then headers said conventions, and a name was short
    names = ["clip_style (raw cosine)", "clip_prompt (raw cosine)", "style_probability (softmax)"]
    head[4:8], line[4:8] = [*names, "similarity_to_unsteered (raw image cosine)"], ["0.4", "0.3", "0.9", "0.7"]
    (tmp_path / "later.csv").write_text(",".join(head) + "\n" + ",".join(line) + "\n")
    assert read_records(tmp_path / "later.csv") == [expected]


def test_records_come_back_with_their_seeds_and_conventions_beside(tmp_path):
    scores = {"clip_style_cosine": 0.4, "clip_style_probability": 0.9}
    records = [Record("neon", "lineas", 0.5, "a red heart", scores, seed=1000, training_seed=t) for t in (0, 1)]
    records.append(Record("neon", "prompting", 1.0, "a red heart", scores, seed=1000))
    write_records(records, tmp_path / "evaluation.csv")
    assert read_records(tmp_path / "evaluation.csv") == records
    assert (tmp_path / "evaluation.csv").read_text().splitlines()[0] == (
        "style,method,strength,prompt,seed,training_seed,clip_style_cosine,clip_style_probability"
    )
    beside = json.loads((tmp_path / "evaluation.columns.json").read_text())
    assert beside["table"] == "evaluation.csv"
    assert beside["columns"]["clip_style_probability"]["convention"] == "softmax against the neutral text"
    assert beside["columns"]["training_seed"]["meaning"]


def test_intervals_are_over_prompts_and_training_seeds():
    """All spread is between trainings: an interval over pictures alone would be a third as wide, or none."""
    values = {0: 0.1, 1: 0.5, 2: 0.9}
    records = [
        Record("neon", "lineas", 1.0, f"prompt {n}", {"clip_style_cosine": value}, n, seed)
        for seed, value in values.items()
        for n in range(8)
    ]
    (entry,) = summarise(records)
    assert (entry["prompts"], entry["training_seeds"]) == (8, 3)
    assert entry["clip_style_cosine"] == pytest.approx((0.5, 0.1, 0.9), abs=1e-6)
    strengths, curve = curves(records, "neon", "lineas", "clip_style_cosine")
    assert (strengths, curve.shape) == ([1.0], (24, 1))
    assert units_of(rows_of(records, "neon", "lineas"))[1] == [0] * 8 + [1] * 8 + [2] * 8


def test_a_figure_that_some_picture_lacks_is_in_no_mean():
    pictures = ({"clip_style_cosine": 0.2, "clip_prompt_cosine": 0.5}, {"clip_style_cosine": 0.4})
    records = [Record("neon", "lineas", 1.0, prompt, scores) for prompt, scores in zip("ab", pictures, strict=True)]
    assert figures_in(records) == ["clip_style_cosine", "clip_prompt_cosine"]
    (entry,) = summarise(records)
    assert "clip_prompt_cosine" not in entry
    assert entry["clip_style_cosine"] == pytest.approx((0.3, 0.2, 0.4))
