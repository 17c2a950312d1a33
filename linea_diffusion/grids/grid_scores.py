"""Scores of a grid: of each picture, their means per column, and the figures of each row's curve."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..concepts.concept import Concept, StyleTexts
from ..errors import LineaError, make_folder, nearest_hint
from ..scoring.figures import CURVES, EARLIER, OF_STYLE, SCORES, base_of, columns_for, names_in
from ..scoring.formulas import mean_figures, score_pictures
from ..scoring.statistics import gap_deviation, spearman, triangle_deficit
from ..scoring.tables import write_table
from .plans import Cell

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer

Texts = Concept | StyleTexts


def texts_for(
    rows: Sequence[Sequence[Cell]],
    texts: Texts | Mapping[str, Texts] | None,
    defaults: Mapping[str, StyleTexts],
    dials: Sequence[str] = (),
) -> list[dict[str, Texts]]:
    """What each row is scored against, by the style that figures are named after; one style has figures without name.

    Args:
        rows: of the grid.
        texts: for all rows, or style -> texts, or None for what the maps say.
        defaults: style -> texts, of the maps.
        dials: the two styles that act on every picture, if the grid is of two dials.

    Raises:
        LineaError: a row whose style has no texts.
    """
    if isinstance(texts, Concept | StyleTexts):
        return [{"": texts}] * len(rows)
    by_style: dict[str, Texts] = {**defaults, **(texts or {})}
    if both := {style: by_style[style] for style in dials if style in by_style}:
        return [both] * len(rows)
    for row in rows:
        if row[0].style not in by_style:
            raise LineaError(
                f"got no texts to score {row[0].style or 'the grid'!r} against, and maps that do not say them: "
                "expected a concept, or a dict with one for each style"
            )
    return [{"": by_style[row[0].style]} for row in rows]


def score_cells(
    rows: Sequence[Sequence[Cell]], scorer: ClipScorer, texts: Sequence[Mapping[str, Texts]]
) -> list[torch.Tensor]:
    """Fill in the scores of every cell; returns the unit embeddings, (k, e) for each row.

    What depends on the picture at strength 0 needs one of the same prompt and seed in the grid, and is otherwise left
    out. Pictures are opened row by row.
    """
    embedded = [scorer.embed_images([cell.image for cell in row]) for row in rows]
    unsteered: dict[tuple[str, int], torch.Tensor] = {}
    for row, vectors in zip(rows, embedded, strict=True):
        for cell, vector in zip(row, vectors, strict=True):
            if cell.is_unsteered:
                unsteered.setdefault((cell.prompt, cell.seed), vector)
    for row, vectors, styles in zip(rows, embedded, texts, strict=True):
        references = [unsteered.get((cell.prompt, cell.seed)) for cell in row]
        prompts = [cell.prompt for cell in row]
        for cell in row:
            cell.scores = {}
        for style, text in styles.items():
            figures = score_pictures(scorer, vectors, texts=text, prompts=prompts, references=references)
            for cell, scores in zip(row, figures, strict=True):
                cell.scores |= {_named(name, style): value for name, value in scores.items()}
    return embedded


def _named(name: str, style: str) -> str:
    return f"{name}_{style}" if style and name in OF_STYLE else name


def check_score(name: str, cells: Sequence[Cell] | None = None) -> None:
    """Whether a figure is known and, of some cells, one has it.

    Raises:
        LineaError: an unknown name, or a grid without that score.
    """
    if base_of(name) not in SCORES:
        raise LineaError(f"got score {name!r}: expected one of {', '.join(SCORES)}{_hint(name)}")
    if cells is not None and not any(name in cell.scores for cell in cells):
        known = ", ".join(names_in(cell.scores for cell in cells)) or "a grid that was scored"
        raise LineaError(f"got score {name!r}, which no picture of this grid has: expected {known}")


def _hint(name: str) -> str:
    return f"; it is called {EARLIER[name]} now" if name in EARLIER else nearest_hint(name, SCORES)


def mean_scores(rows: Sequence[Sequence[Cell]]) -> list[dict[str, float]]:
    """Per column the strength and the mean of each score over the rows; NaN where no row has it."""
    unknown = dict.fromkeys(SCORES, float("nan"))
    return [
        {"strength": column[0].strength, **unknown, **mean_figures([cell.scores for cell in column])}
        for column in zip(*rows, strict=True)
    ]


def curve_figures(row: Sequence[Cell], embeddings: torch.Tensor | None, score: str) -> dict[str, float]:
    """The `CURVES` of one row, in the order of its strengths; NaN for what it cannot have.

    Args:
        row: of a grid.
        embeddings: of its pictures, (k, e), unit length.
        score: whose curve, a name of `SCORES`.

    Raises:
        LineaError: a row without the score, or without embeddings, or with fewer than 2 different strengths.
    """
    check_score(score, row)
    strengths = [cell.strength for cell in row]
    if embeddings is None or len(set(strengths)) != len(strengths) or len(strengths) < 2:
        raise LineaError(
            f"got strengths {strengths} for the figures of a curve: expected at least 2, each once, in a scored grid"
        )
    if any(cell.asked is not None for cell in row):
        return dict.fromkeys(CURVES, float("nan"))
    order = np.argsort(strengths)
    ascending = [strengths[i] for i in order]
    values = np.array([row[i].scores.get(score, np.nan) for i in order])
    smooth = triangle_deficit(embeddings.double().numpy()[order]) if len(row) > 2 else np.nan
    if np.isnan(values).any():
        return {"spearman": float("nan"), "gap_deviation": float("nan"), "triangle_deficit": float(smooth)}
    figures = spearman(ascending, values), gap_deviation(ascending, values), smooth
    return dict(zip(CURVES, map(float, figures), strict=True))


def write_cells(rows: Sequence[Sequence[Cell]], path: Path, labels: tuple[Sequence[str], Sequence[str]]) -> None:
    """One line per cell: its facts and the `SCORES`, of several adapters the strength of each; see `write_table`."""
    make_folder(path.parent)
    names = columns_for(cell.scores for row in rows for cell in row)
    adapters = list(dict.fromkeys(name for row in rows for cell in row for name in cell.strengths))
    lines = [
        _line(cell, label, column, names, adapters if len(adapters) > 1 else ())
        for row, label in zip(rows, labels[0], strict=True)
        for cell, column in zip(row, labels[1], strict=True)
    ]
    write_table(lines, path)


def _line(cell: Cell, row: str, column: str, names: Sequence[str], adapters: Sequence[str]) -> dict[str, Any]:
    facts = {
        "prompt": cell.prompt, "style": cell.style, "strength": f"{cell.strength:g}", "seed": cell.seed, "row": row,
        "column": column, "method": cell.method, "strengths": json.dumps(cell.strengths, ensure_ascii=False),
    }  # fmt: skip
    facts |= {f"strength.{name}": cell.strengths.get(name, 0.0) for name in adapters}
    return {**facts, **{name: f"{cell.scores[name]:.5f}" if name in cell.scores else "" for name in names}}
