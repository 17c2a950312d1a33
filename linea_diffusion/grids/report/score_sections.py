"""What a report says about the scores of a grid: curves, means with intervals, how evenly the dial turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...scoring.figures import CURVES, Figure, base_of, figure_of, meanings, names_in
from ...scoring.statistics import bootstrap_interval
from .page import CaptionedPlot, Section, Table
from .plots import Curve, curves_plot

if TYPE_CHECKING:
    from .. import StyleGrid
    from ..plans import Cell

_UNITS = ("prompts", "seeds")
"""Kinds of rows that are drawn anew from the same law: means over them have intervals."""

DRAWN = (
    "clip_style_probability",
    "clip_style_cosine",
    "clip_prompt_cosine",
    "similarity_to_unsteered",
    "directional_similarity",
)
"""Scores with a picture of their own; the CLIPScores are the same curves on another scale, and in the table."""

_MOST_LINES = 7


def drawn_in(cells: Sequence[Cell]) -> dict[str, Figure]:
    """Name -> figure, of those with a picture of their own that some cell has; those that say a style among them."""
    known = names_in(cell.scores for cell in cells)
    named = [name for base in DRAWN for name in known if base_of(name) == base]
    return {name: figure for name in named if (figure := figure_of(name)) is not None}


def score_sections(grid: StyleGrid) -> list[Section]:
    """The sections that a grid's scores allow; none for a grid that was not scored."""
    if not any(cell.scores for cell in grid.cells):
        return []
    return [_scores(grid), *([_evenness(grid)] if _has_curves(grid) else [])]


def turns_one(grid: StyleGrid) -> bool:
    """Whether each row turns a dial of its own, rather than rows one and columns another."""
    return grid.kind.endswith("strengths")


def column_name(grid: StyleGrid) -> str:
    """What the columns turn: the strength, or the second dial."""
    return grid.strength_name if turns_one(grid) else grid.kind.rpartition(" x ")[2]


def _scored_columns(grid: StyleGrid, name: str) -> list[int]:
    """Columns in which every row has a score, by ascending strength."""
    columns = [c for c in range(len(grid.rows[0])) if all(name in row[c].scores for row in grid.rows)]
    return sorted(columns, key=lambda column: grid.rows[0][column].strength)


def _scores(grid: StyleGrid) -> Section:
    """Curves of the scores over strength, and the numbers behind them."""
    figures = []
    for name, figure in drawn_in(grid.cells).items():
        columns = _scored_columns(grid, name)
        if len(columns) > 1:
            curves = _curves(grid, name, columns)
            plot = curves_plot(
                curves, figure=figure.label, title=f"{name} against strength",
                bounds=(-0.03, 1.03) if figure.is_share else None, along=column_name(grid),
            )  # fmt: skip
            figures.append(CaptionedPlot(plot, figure.header, figure.meaning))
    text = "One line for each row."
    if _over_units(grid):
        text = f"Mean over the {len(grid.rows)} rows with the 95% bootstrap interval; thin lines are single rows."
    elif len(grid.rows) > _MOST_LINES:
        text = f"Lines for {_MOST_LINES} of the {len(grid.rows)} rows; all of them are in the table of pictures."
    return Section("Scores", text, figures, [_score_table(grid)] if _over_units(grid) else [])


def _over_units(grid: StyleGrid) -> bool:
    return grid.kind.startswith(_UNITS)


def _curves(grid: StyleGrid, name: str, columns: Sequence[int]) -> list[Curve]:
    strengths = [grid.rows[0][column].strength for column in columns]
    values = np.array([[row[column].scores[name] for column in columns] for row in grid.rows])
    if _over_units(grid):
        return [Curve(grid.style or "mean", strengths, values)]
    numbers = sorted({round(i) for i in np.linspace(0, len(values) - 1, _MOST_LINES)})
    return [Curve(grid.row_labels[i], strengths, values[i : i + 1]) for i in numbers]


def _score_table(grid: StyleGrid) -> Table:
    names = [name for name in names_in(cell.scores for cell in grid.cells) if _scored_columns(grid, name)]
    rows = []
    for number, label in enumerate(grid.column_labels):
        columns = [[row[number].scores.get(name, np.nan) for row in grid.rows] for name in names]
        rows.append([label, *(_interval(values) for values in columns)])
    heads = [figure.header for name in names if (figure := figure_of(name)) is not None]
    return Table("Mean over rows [95% interval], at each strength", [column_name(grid), *heads], rows)


def _interval(values: Sequence[float], digits: int = 3) -> str:
    if np.isnan(values).any():
        return "-"
    mean, low, high = bootstrap_interval(np.array(values))
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]" if len(values) > 1 else f"{mean:.{digits}f}"


def _has_curves(grid: StyleGrid) -> bool:
    strengths = {cell.strength for cell in grid.rows[0]}
    return (
        bool(grid.embeddings)
        and turns_one(grid)
        and len(strengths) == len(grid.rows[0]) > 1
        and all("clip_style_cosine" in c.scores for c in grid.rows[0])
    )


def _evenness(grid: StyleGrid) -> Section:
    """How well the dial turns: the figures of every row's curve."""
    figures = grid.curve_figures("clip_style_cosine")
    rows = [
        [label, *("-" if np.isnan(row[name]) else f"{row[name]:.3f}" for name in CURVES)]
        for label, row in zip(grid.row_labels, figures, strict=True)
    ]
    if _over_units(grid) and len(figures) > 1:
        mean = [_interval([row[name] for row in figures]) for name in CURVES]
        rows.insert(0, ["mean [95% interval]", *mean])
    text = meanings(CURVES)
    heads = [figure.header for figure in CURVES.values()]
    return Section(
        "How evenly it turns", text, tables=[Table("Of the raw CLIP cosine with the style", ["row", *heads], rows)]
    )
