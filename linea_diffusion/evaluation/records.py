"""What an evaluation knows of each picture: means with intervals, curves over strength, and the CSV file of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LineaError, reason
from ..scoring.figures import EARLIER, OF_RECORDS
from ..scoring.resampling import mean_interval
from ..scoring.tables import read_table, write_table


@dataclass(frozen=True)
class Record:
    """What is known of one picture, or of one text.

    Attributes:
        style: concept's name.
        method: what steered.
        strength: of the steering.
        prompt: the held-out prompt.
        scores: name -> figure, those of `linea_diffusion.scoring.figures.OF_RECORDS` that are known.
        seed: of the picture's noise; None in files of earlier versions.
        training_seed: of the maps; None where nothing was trained, or nothing says it.
    """

    style: str
    method: str
    strength: float
    prompt: str
    scores: Mapping[str, float]
    seed: int | None = None
    training_seed: int | None = None

    @property
    def row(self) -> Row:
        """What its curve over strength is of."""
        return self.prompt, self.seed, self.training_seed


Row = tuple[str, int | None, int | None]
"""Prompt, seed of the noise, seed of the training."""


def figures_in(records: Sequence[Record]) -> list[str]:
    """The figures that some record has, in the order of tables."""
    return [name for name in OF_RECORDS if any(name in record.scores for record in records)]


def units_of(rows: Sequence[Row]) -> tuple[list[str], list[int] | None]:
    """What is drawn anew for an interval: the prompt of each row, and its training seed if there are several."""
    seeds = [seed for _, _, seed in rows if seed is not None]
    several = len(seeds) == len(rows) and len(set(seeds)) > 1
    return [prompt for prompt, _, _ in rows], seeds if several else None


def summarise(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Means with 95% bootstrap intervals over prompts and training seeds, by style, method and strength.

    Each figure is a (mean, low, high); figures that some picture of the entry lacks are left out.
    """
    groups: dict[tuple[str, str, float], list[Record]] = {}
    for record in records:
        groups.setdefault((record.style, record.method, record.strength), []).append(record)
    entries = []
    for (style, method, strength), group in groups.items():
        units = units_of([record.row for record in group])
        counts = {"prompts": len(set(units[0])), "training_seeds": len(set(units[1] or (0,)))}
        entry: dict[str, Any] = {"style": style, "method": method, "strength": strength, **counts}
        for figure in OF_RECORDS:
            if all(figure in record.scores for record in group):
                entry[figure] = mean_interval(np.array([record.scores[figure] for record in group]), *units)
        entries.append(entry)
    return entries


def rows_of(records: Sequence[Record], style: str, method: str) -> list[Row]:
    """The rows of one style by one method, in order."""
    return list(dict.fromkeys(r.row for r in records if (r.style, r.method) == (style, method)))


def curves(records: Sequence[Record], style: str, method: str, figure: str) -> tuple[list[float], np.ndarray]:
    """Strengths (k,) and a figure (rows, k), NaN where it is unknown, of one style by one method; see `rows_of`."""
    group = [record for record in records if (record.style, record.method) == (style, method)]
    strengths = sorted({record.strength for record in group})
    value = {(record.row, record.strength): record.scores.get(figure, float("nan")) for record in group}
    rows = rows_of(group, style, method)
    return strengths, np.array([[value[row, strength] for strength in strengths] for row in rows])


def write_records(records: Sequence[Record], path: Path) -> None:
    """All records as CSV, one line per picture; see `write_table`."""
    names = figures_in(records)
    rows = [
        {"style": one.style, "method": one.method, "strength": one.strength, "prompt": one.prompt, "seed": one.seed,
         "training_seed": one.training_seed, **{name: one.scores.get(name) for name in names}}
        for one in records
    ]  # fmt: skip
    write_table(rows, path)


_FIRST = {
    **EARLIER,
    "clip_style": "clip_style_probability",
    "clip_text": "clip_style_cosine",
    "content": "similarity_to_unsteered",
}
"""What the first files called figures; they are known by ``clip_text``, which no figure was called later."""


def read_records(path: Path) -> list[Record]:
    """The inverse of `write_records`; also of files with earlier names of figures.

    Raises:
        LineaError: a file that it did not write.
    """
    rows = read_table(path)
    names = _FIRST if any("clip_text" in row for row in rows) else EARLIER
    rows = [{names.get(name, name): value for name, value in row.items()} for row in rows]

    def record(row: Mapping[str, str]) -> Record:
        scores = {name: float(row[name]) for name in OF_RECORDS if row.get(name, "")}
        figures = {name: value for name, value in scores.items() if not math.isnan(value)}
        seeds = (int(row[name]) if row.get(name, "") else None for name in ("seed", "training_seed"))
        return Record(row["style"], row["method"], float(row["strength"]), row["prompt"], figures, *seeds)

    try:
        return [record(row) for row in rows]
    except (KeyError, ValueError) as error:
        raise LineaError(f"got {str(path)!r}: expected an evaluation.csv of linea evaluate ({reason(error)})") from None
