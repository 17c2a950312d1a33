"""Records of an evaluation in files, also of earlier names."""

from __future__ import annotations

import pytest

from linea_diffusion.evaluation.records import Record, figures_in, read_records, summarise, write_records


def test_earlier_files_are_read_by_the_names_of_now(tmp_path):
    head = [
        "style", "method", "strength", "prompt", "clip_style (softmax against the neutral text)",
        "clip_text (raw cosine)", "clip_prompt (raw cosine)", "content (raw image cosine)", "truth_style",
        "truth_amount", "truth_object", "truth_color",
    ]  # fmt: skip
    line = ["neon", "lineas", "0.5", "a red heart", "0.9", "0.4", "0.3", "0.7", "nan", "nan", "nan", "nan"]
    (tmp_path / "old.csv").write_text(",".join(head) + "\n" + ",".join(line) + "\n")
    scores = {"style_probability": 0.9, "clip_style": 0.4, "clip_prompt": 0.3, "similarity_to_unsteered": 0.7}
    expected = Record("neon", "lineas", 0.5, "a red heart", scores)
    assert read_records(tmp_path / "old.csv") == [expected]
    write_records([expected], tmp_path / "new.csv")
    assert read_records(tmp_path / "new.csv") == [expected]
    assert (tmp_path / "new.csv").read_text().splitlines()[0] == (
        "style,method,strength,prompt,clip_style (raw cosine),clip_prompt (raw cosine),"
        "style_probability (softmax against the neutral text),similarity_to_unsteered (raw image cosine)"
    )


def test_a_figure_that_some_picture_lacks_is_in_no_mean():
    pictures = ({"clip_style": 0.2, "clip_prompt": 0.5}, {"clip_style": 0.4})
    records = [Record("neon", "lineas", 1.0, prompt, scores) for prompt, scores in zip("ab", pictures, strict=True)]
    assert figures_in(records) == ["clip_style", "clip_prompt"]
    (entry,) = summarise(records)
    assert "clip_prompt" not in entry
    assert entry["clip_style"] == pytest.approx((0.3, 0.2, 0.4))
