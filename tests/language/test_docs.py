"""docs/language_models.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "language_models.md"


def test_the_page_runs():
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S))
    names: dict = {}
    exec(code.replace("iterations=20", "iterations=2"), names)
    assert len(names["texts"]) == 3
    assert names["tokens"].shape[0] == 2
    assert {record.method for record in names["records"]} == {"mine"}
    assert {"truth_source", "truth_target", "truth_topic", "truth_grammar", "perplexity", "distinct_2"} == set(
        names["records"][0].scores
    )
