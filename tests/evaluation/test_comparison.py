"""Tables of ways to steer: records made by hand, with and without a truth classifier."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from linea_diffusion.cli.evaluating import evaluate
from linea_diffusion.evaluation.comparison import (
    amount_figure,
    at_equal_amount,
    best_at_equal_quality,
    comparison_markdown,
    measured_dial,
    texts_at_equal_quality,
)
from linea_diffusion.evaluation.evaluate import POSITIONS
from linea_diffusion.evaluation.evaluate import evaluate as in_python
from linea_diffusion.evaluation.records import Record
from linea_diffusion.scoring.figures import TRUTH
from linea_diffusion.scoring.statistics import bootstrap_interval
from linea_diffusion.steering.parsing import parse_strengths

PROMPTS = ("a red heart", "a blue fish", "a green star", "a teal tree")


def _record(style, method, strength, prompt, amount, color, *, truth=True) -> Record:
    scores = {
        "clip_style_probability": amount,
        "clip_style_cosine": 0.2,
        "clip_prompt_cosine": 0.3,
        "similarity_to_unsteered": 1 - amount / 2,
    }
    truths = dict(zip(TRUTH, (amount, amount, 1.0, color), strict=True)) if truth else {}
    return Record(style, method, strength, prompt, scores | truths)


def _records(style="neon", truth=True):
    """An even dial with colours up to .75; a dial that comes to .5; words, with .9 and three of four colours."""
    even = [_record(style, "even", s, p, s, float(s <= 0.75), truth=truth) for p in PROMPTS for s in POSITIONS]
    weak = [_record(style, "weak", s, p, s / 2, 1.0, truth=truth) for p in PROMPTS for s in POSITIONS]
    words = [
        _record(style, "prompting", s, p, 0.9 * s, float(s == 0 or p != PROMPTS[0]), truth=truth)
        for p in PROMPTS
        for s in (0.0, 1.0)
    ]
    return even + weak + words


def _table(tables, title):
    return next({row[0]: dict(zip(t.head, row, strict=True)) for row in t.rows} for t in tables if t.title == title)


def test_methods_are_compared_at_equal_amount():
    kept = _table(at_equal_amount(_records(), "neon"), "kept at equal amount of style")
    assert list(kept) == ["even", "weak"]
    # From .75 to .875 the colour falls from 1 to 0: at .85 a fifth is left.
    assert kept["even"]["colour right at 0.85"] == "0.20 [0.20, 0.20]"
    assert kept["even"]["object right at 0.95"] == "1.00 [1.00, 1.00]"
    assert kept["even"]["area of colour right"].startswith(f"{(0.75 + 0.125 / 2) / 0.95:.2f} [")
    assert kept["weak"]["colour right at 0.85"] == "- (0.50)"
    assert kept["weak"]["area of colour right"].startswith(f"{0.5 / 0.95:.2f} [")


def test_how_dials_turn():
    turns = _table(at_equal_amount(_records(), "neon"), "how the dial turns")
    assert turns["even"]["largest step"] == turns["weak"]["step of a picture"] == "0.12 [0.12, 0.12]"
    assert turns["even"]["spearman"] == "1.00 [1.00, 1.00]"
    assert turns["even"]["gap deviation"] == "0.00 [0.00, 0.00]"
    assert turns["weak"]["most"] == "0.50 [0.50, 0.50]"


def test_a_method_at_one_strength_is_one_point():
    points = _table(at_equal_amount(_records(), "neon"), "methods of one point")
    low, high = bootstrap_interval(np.array([0.0, 1.0, 1.0, 1.0]))[1:]
    assert points == {
        "prompting": {
            "method": "prompting",
            "amount": "0.90 [0.90, 0.90]",
            "object right": "1.00 [1.00, 1.00]",
            "colour right": f"0.75 [{low:.2f}, {high:.2f}]",
        }
    }
    assert measured_dial(_records(), "neon", "prompting").strengths == [1.0]
    only = [record for record in _records() if record.method == "prompting"]
    assert [table.title for table in at_equal_amount(only, "neon")] == ["methods of one point"]


def test_without_a_truth_classifier_clip_tells_amount_and_what_is_kept():
    records = _records(truth=False)
    assert amount_figure(records) == "clip_style_probability"
    assert amount_figure(_records()) == "truth_amount"
    table = at_equal_amount(records, "neon")[0]
    assert table.head == ["method", "like unsteered at 0.85", "like unsteered at 0.95", "area of like unsteered"]
    assert float(table.rows[0][1][:4]) == pytest.approx(1 - 0.85 / 2, abs=0.006)
    assert "clip_style_probability" in table.note


def test_markdown_has_all_tables_of_all_styles():
    text = comparison_markdown([*_records(), *_records("mosaic")])
    heads = [line for line in text.splitlines() if line.startswith("| style |")]
    assert len(heads) == 4
    for style in ("neon", "mosaic"):
        assert text.count(f"| {style} | even |") == 3
        assert text.count(f"| {style} | prompting |") == 2
    assert max(line.count("|") for line in text.splitlines()) <= 10
    assert all("nan" not in line for line in text.splitlines())


def test_styles_with_and_without_truth_have_tables_of_their_own():
    text = comparison_markdown([*_records(), *_records("mine", truth=False)])
    heads = [line for line in text.splitlines() if line.startswith("| style |")]
    assert len(heads) == 1 + 3 + 3
    assert "| mine | weak | - (0.50)" in text


@pytest.mark.parametrize("truth", [True, False])
def test_every_row_is_as_long_as_its_head(truth):
    for table in at_equal_amount(_records(truth=truth), "neon"):
        assert {len(row) for row in table.rows} == {len(table.head)}


def test_the_command_has_the_positions_of_the_function():
    value = inspect.signature(evaluate).parameters["strengths"].default
    assert tuple(parse_strengths(value)) == POSITIONS == inspect.signature(in_python).parameters["strengths"].default


def test_the_best_strength_of_equal_quality_has_the_fewest_of_the_sources_words():
    """Perplexity is a geometric mean: 3.2 of 2 and 5.12 is within 1.1 times 3, though their plain mean is not."""

    def texts(strength, pairs):
        scores = [{"perplexity": perplexity, "truth_source": source} for perplexity, source in pairs]
        return [Record("friendly", "a", strength, str(row), one) for row, one in enumerate(scores)]

    unsteered = texts(0.0, [(3.0, 1.0), (3.0, 1.0)])
    good, alike = texts(0.5, [(2.0, 0.0), (5.12, 1.0)]), texts(1.0, [(3.0, 1.0), (3.0, 0.0)])
    broken = texts(2.0, [(9.0, 0.0)])
    assert best_at_equal_quality([*unsteered, *broken, *alike, *good]) == 0.5
    assert best_at_equal_quality([*unsteered, *broken]) is None
    assert best_at_equal_quality([Record("friendly", "a", 0.0, "0", {"perplexity": 3.0})]) is None
    table, known = texts_at_equal_quality([*unsteered, *good], "friendly"), [["friendly", "a", "0.5"]]
    assert [row[:3] for row in table[0].rows] == known
    assert not texts_at_equal_quality([*unsteered, *broken], "friendly")
