"""What an evaluation knows of each picture: means with intervals, curves over strength, and the CSV file of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LineaError, reason
from ..scoring.figures import OF_PICTURES
from ..scoring.statistics import bootstrap_interval
from ..scoring.tables import read_table, write_table


@dataclass(frozen=True)
class Record:
    """What is known of one picture.

    Attributes:
        style: concept's name.
        method: what steered.
        strength: of the steering.
        prompt: the held-out prompt.
        scores: name -> figure, those of `linea_diffusion.scoring.figures.OF_PICTURES` that are known.
    """

    style: str
    method: str
    strength: float
    prompt: str
    scores: Mapping[str, float]


def figures_in(records: Sequence[Record]) -> list[str]:
    """The figures that some record has, in the order of tables."""
    return [name for name in OF_PICTURES if any(name in record.scores for record in records)]


def summarise(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Means with 95% bootstrap intervals over prompts, one entry for each style, method and strength.

    Each figure is a (mean, low, high); figures that some picture of the entry lacks are left out.
    """
    groups: dict[tuple[str, str, float], list[Record]] = {}
    for record in records:
        groups.setdefault((record.style, record.method, record.strength), []).append(record)
    entries = []
    for (style, method, strength), group in groups.items():
        entry: dict[str, Any] = {"style": style, "method": method, "strength": strength, "prompts": len(group)}
        for figure in OF_PICTURES:
            if all(figure in record.scores for record in group):
                entry[figure] = bootstrap_interval(np.array([record.scores[figure] for record in group]))
        entries.append(entry)
    return entries


def curves(records: Sequence[Record], style: str, method: str, figure: str) -> tuple[list[float], np.ndarray]:
    """Strengths (k,) and a figure (prompts, k), NaN where it is unknown, of one style by one method."""
    rows = [record for record in records if (record.style, record.method) == (style, method)]
    strengths = sorted({record.strength for record in rows})
    prompts = dict.fromkeys(record.prompt for record in rows)
    value = {(record.prompt, record.strength): record.scores.get(figure, float("nan")) for record in rows}
    return strengths, np.array([[value[prompt, strength] for strength in strengths] for prompt in prompts])


def write_records(records: Sequence[Record], path: Path) -> None:
    """All records as CSV, one line per picture; see `write_table`."""
    names = figures_in(records)
    rows = [
        {"style": one.style, "method": one.method, "strength": one.strength, "prompt": one.prompt,
         **{name: one.scores.get(name) for name in names}}
        for one in records
    ]  # fmt: skip
    write_table(rows, path)


_OLD = {"clip_style": "style_probability", "clip_text": "clip_style", "content": "similarity_to_unsteered"}
"""What earlier files called figures; they are known by ``clip_text``, which no figure is called now."""


def read_records(path: Path) -> list[Record]:
    """The inverse of `write_records`; also of files with earlier names of figures.

    Raises:
        LineaError: a file that it did not write.
    """
    rows = read_table(path)
    if any("clip_text" in row for row in rows):
        rows = [{_OLD.get(name, name): value for name, value in row.items()} for row in rows]

    def record(row: Mapping[str, str]) -> Record:
        scores = {name: float(row[name]) for name in OF_PICTURES if row.get(name, "")}
        figures = {name: value for name, value in scores.items() if not math.isnan(value)}
        return Record(row["style"], row["method"], float(row["strength"]), row["prompt"], figures)

    try:
        return [record(row) for row in rows]
    except (KeyError, ValueError) as error:
        raise LineaError(f"got {str(path)!r}: expected an evaluation.csv of linea evaluate ({reason(error)})") from None
