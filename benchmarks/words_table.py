"""The tables of the benchmark of language models: rows of single texts in, lines of Markdown out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from linea_diffusion.evaluation.comparison import best_at_equal_quality
from linea_diffusion.evaluation.records import Record
from linea_diffusion.scoring.resampling import mean_interval

from .workbench import table

Row = dict[str, str]
SHARES = {"rude": "truth_source", "friendly": "truth_target", "topic kept": "truth_topic", "grammar": "truth_grammar"}
"""What a column is called -> its figure."""


def sections_in(path: Path) -> dict[str, list[str]]:
    """Title -> lines of the sections that a file has already, the words below its tables among them."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = (part.partition("\n") for part in text.split("\n## ")[1:])
    return {title: body.strip().splitlines() for title, _, body in parts}


def tables(part: str, rows: Sequence[Row]) -> list[str]:
    """The table of a part: of methods at strength 1 and at equal quality, of the others at all strengths."""
    head = ["method", "prompts", "strength", *SHARES, "perplexity", "distinct-2", "support"]
    lines = _unsteered(rows)
    for name in dict.fromkeys(map(_name, rows)):
        for kind in dict.fromkeys(row["kind"] for row in rows):
            at = _by_strength([row for row in rows if _name(row) == name and row["kind"] == kind])
            chosen = _compared(at) if part == "methods" else {s: f"{s:g}" for s in at if s}
            lines += [[name, kind, label, *_figures(at[strength])] for strength, label in chosen.items()]
    return table(head, lines)


def _unsteered(rows: Sequence[Row]) -> list[list[str]]:
    """The model by itself, which all methods share: the first one's, once."""
    first = [row for row in rows if row["strength"] == "0" and row["seed"] == rows[0]["seed"]]
    lines = []
    for judged in dict.fromkeys(_judged(row) for row in first):
        for kind in dict.fromkeys(row["kind"] for row in first):
            group = [row for row in first if row["kind"] == kind and _judged(row) == judged]
            own = [row for row in group if _name(row) == _name(group[0])]
            lines.append([f"unsteered{judged}", kind, "0", *_figures([{**row, "support": ""} for row in own])])
    return lines


def _judged(row: Row) -> str:
    """By what a row was judged, where that differs within a table."""
    _, said, attribute = row["method"].partition(", judged as ")
    return said + attribute


def _by_strength(rows: Sequence[Row]) -> dict[float, list[Row]]:
    strengths = sorted({float(row["strength"]) for row in rows})
    return {strength: [row for row in rows if float(row["strength"]) == strength] for strength in strengths}


def _compared(at: dict[float, list[Row]]) -> dict[float, str]:
    """Strength 1, and the best one at equal quality -> what it is called."""
    names = ("truth_source", "perplexity")
    records = [
        Record(row["kind"], row["method"], strength, row["prompt"], {name: float(row[name]) for name in names})
        for strength, rows in at.items()
        for row in rows
        if row["perplexity"]
    ]
    best = best_at_equal_quality(records)
    if best == 1.0:
        return {1.0: "1 (also at equal quality)"}
    return {1.0: "1", **({} if best is None else {best: f"{best:g}, equal quality"})}


def _figures(rows: Sequence[Row]) -> Iterator[str]:
    for figure in SHARES.values():
        known = [row for row in rows if row[figure]]
        seeds = [int(row["seed"]) for row in known]
        values = np.array([float(row[figure]) for row in known])
        several = seeds if len(set(seeds)) > 1 else None
        yield "{:.2f} [{:.2f}, {:.2f}]".format(*mean_interval(values, [row["prompt"] for row in known], several))
    yield f"{_perplexity(rows):.2f}"
    yield f"{_mean(rows, 'distinct_2'):.2f}"
    yield f"{_mean(rows, 'support'):.2f}" if rows[0]["support"] else "-"


def _name(row: Row) -> str:
    more = {"sizes": f", N = {row['size']}", "layers": f", {row['modules']}"}
    return row["method"] + more.get(row["part"], "")


def _mean(rows: Sequence[Row], figure: str) -> float:
    return float(np.mean([float(row[figure]) for row in rows if row[figure]]))


def _perplexity(rows: Sequence[Row]) -> float:
    return float(np.exp(np.mean([np.log(float(row["perplexity"])) for row in rows if row["perplexity"]])))
