"""Ways to steer side by side: at strength 1, at equal amount of style or quality of text, and how their dials turn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..grids.report.page import Table
from ..scoring.figures import OF_PICTURES, TEXTS, TRUTH, TURNS, meanings
from ..scoring.resampling import LEVELS, MeasuredDial, Samples, dial_samples, interval, point_samples
from .records import Record, curves, rows_of, summarise, units_of

KEPT_BY_TRUTH, KEPT_BY_CLIP = ("truth_object", "truth_color"), ("similarity_to_unsteered",)
"""Figures of a `Record` that shall stay as they are, with and without a truth classifier."""


def has_truth(records: Sequence[Record]) -> bool:
    """Whether every picture has been seen by the truth classifier."""
    return all(TRUTH.keys() <= record.scores.keys() for record in records)


def amount_figure(records: Sequence[Record]) -> str:
    """The figure that is the amount of style: the truth classifier's, or CLIP's probability where there is none."""
    return "truth_amount" if has_truth(records) else "clip_style_probability"


def measured_dial(records: Sequence[Record], style: str, method: str) -> MeasuredDial:
    """What a method's pictures of a style show along its dial.

    A method that is known at strengths 0 and 1 only, such as asking in words, has no dial but one point, at 1.
    """
    group = [record for record in records if (record.style, record.method) == (style, method)]
    figure = amount_figure(group)
    strengths, amount = curves(group, style, method, figure)
    names = KEPT_BY_TRUTH if has_truth(group) else KEPT_BY_CLIP
    first = 0 if len(strengths) > 2 else len(strengths) - 1
    kept = {OF_PICTURES[name].label: curves(group, style, method, name)[1][:, first:] for name in names}
    return MeasuredDial(strengths[first:], amount[:, first:], kept, *units_of(rows_of(group, style, method)))


def at_equal_amount(records: Sequence[Record], style: str) -> list[Table]:
    """What methods keep of the picture at equal amount of a style, how their dials turn, and methods of one point.

    Each figure is a value [95% bootstrap interval over prompts and training seeds]; tables without a row are left out.
    """
    group = [record for record in records if record.style == style]
    dials = {method: measured_dial(group, style, method) for method in dict.fromkeys(record.method for record in group)}
    turning = {method: dial_samples(dial) for method, dial in dials.items() if dial.turns}
    points = {method: point_samples(dial) for method, dial in dials.items() if not dial.turns}
    figure, kept = amount_figure(group), list(next(iter(dials.values())).kept)
    even = 1 / max([len(dial.strengths) - 1 for dial in dials.values() if dial.turns], default=1)
    tables = [
        _table(
            "kept at equal amount of style",
            f"where the mean {figure} first reaches the level, between strengths linearly; in brackets, where it never "
            f"does, the most that it reaches; area: mean over all amounts from 0 to {LEVELS[-1]:g}, of which those "
            "that are not reached count 0",
            turning,
            [*(f"{name} at {level:g}" for level in LEVELS for name in kept), f"area of {kept[-1]}"],
        ),
        _table(
            "how the dial turns",
            f"by {figure}, where steps of {even:.3g} are even. {meanings(TURNS).rstrip('.')}",
            turning,
            list(TURNS),
        ),
        _table("methods of one point", f"no dial; amount is the mean {figure}", points, ["amount", *kept]),
    ]
    return [table for table in tables if table.rows]


def _table(title: str, note: str, samples_of: Mapping[str, Samples], figures: Sequence[str]) -> Table:
    rows = [[method, *(_cell(samples, figure) for figure in figures)] for method, samples in samples_of.items()]
    return Table(title, ["method", *figures], rows, note=note)


def _cell(samples: Samples, figure: str) -> str:
    value = interval(samples[figure])
    return f"- ({samples['most'][0]:.2f})" if math.isnan(value[0]) and "at" in figure.split() else interval_text(value)


def interval_text(figure: tuple[float, float, float]) -> str:
    """A figure with its interval, as tables have it; "-" for one that is unknown."""
    return "-" if math.isnan(figure[0]) else "{:.2f} [{:.2f}, {:.2f}]".format(*figure)


def comparison_markdown(records: Sequence[Record]) -> str:
    """Tables of all styles: at strength 1, at equal amount of style, and how dials turn: value [95% interval]."""
    figures = [
        *(TRUTH if has_truth(records) else ()),
        "clip_style_probability",
        "clip_prompt_cosine",
        "similarity_to_unsteered",
    ]
    at_one = [entry for entry in summarise(records) if entry["strength"] == 1]
    rows = [
        [entry["style"], entry["method"], *(interval_text(entry[figure]) for figure in figures)] for entry in at_one
    ]
    tables = [Table("at strength 1", ["style", "method", *figures], rows)]
    of_styles: dict[tuple[str, str, tuple[str, ...]], list[Sequence[str]]] = {}
    for style in dict.fromkeys(record.style for record in records):
        for table in at_equal_amount(records, style):
            key = table.title, table.note, ("style", *table.head)
            of_styles.setdefault(key, []).extend([style, *row] for row in table.rows)
    tables += [Table(title, head, rows, note=note) for (title, note, head), rows in of_styles.items()]
    return "\n".join(map(_written, tables))


QUALITY = 1.1
"""Perplexity, as a multiple of the unsteered texts', up to which texts count as equally good."""


def best_at_equal_quality(records: Sequence[Record]) -> float | None:
    """The strength above 0 at which texts of one method have the source's words least often while they are as good.

    As good: the geometric mean of their perplexities is at most `QUALITY` times that at strength 0. The lower of two
    strengths that are alike; None if no strength is as good, or a text lacks one of both figures.
    """
    if not all({"perplexity", "truth_source"} <= record.scores.keys() for record in records):
        return None
    at: dict[float, list[Mapping[str, float]]] = {}
    for record in records:
        at.setdefault(record.strength, []).append(record.scores)
    strange = {strength: np.mean([np.log(one["perplexity"]) for one in texts]) for strength, texts in at.items()}
    good = [strength for strength in at if strength > 0 and strange[strength] <= strange[0.0] + math.log(QUALITY)]
    return min(good, key=lambda one: (np.mean([text["truth_source"] for text in at[one]]), one), default=None)


def texts_at_equal_quality(records: Sequence[Record], style: str) -> list[Table]:
    """The texts of each method at its best strength, see `best_at_equal_quality`; no table where nothing judges."""
    group = [record for record in records if record.style == style]
    entries = []
    for method in dict.fromkeys(record.method for record in group):
        own = [record for record in group if record.method == method]
        best = best_at_equal_quality(own)
        entries += summarise([record for record in own if record.strength == best])
    note = (
        f"the strength of the fewest source's words whose perplexity is at most {QUALITY:g} times the unsteered texts'"
    )
    return [Table("at equal quality", *_text_rows(entries), keys=2, note=note)] if entries else []


def texts_markdown(records: Sequence[Record]) -> str:
    """What ways to steer a language model do to its texts at every strength, and at equal quality: value [95%
    interval]."""
    tables = [Table("texts", *_text_rows(summarise(records)))]
    for style in dict.fromkeys(record.style for record in records):
        tables += texts_at_equal_quality(records, style)
    return "\n".join(map(_written, tables))


def _text_rows(entries: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table of texts."""
    figures = [name for name in TEXTS if all(name in entry for entry in entries)]
    rows = [
        [entry["style"], entry["method"], f"{entry['strength']:g}", *(interval_text(entry[name]) for name in figures)]
        for entry in entries
    ]
    return ["style", "method", "strength", *figures], rows


def _written(table: Table) -> str:
    lines = [f"{table.title.capitalize()}{': ' if table.note else ''}{table.note}.", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (table.head, ["---"] * len(table.head), *table.rows)]
    return "\n".join(lines) + "\n"
