"""The report of a `StyleGrid`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..figures import bootstrap_interval
from ..plots import Curve, curves_plot
from ..scores import CURVES, SCORES
from .facts import facts_of_maps, flat_facts, support_section
from .page import Dial, Facts, Figure, Page, Picture, Section, Strip, Table
from .pictures import STORED, data_uri, is_small

if TYPE_CHECKING:
    from ..cells import Cell
    from ..grids import StyleGrid
    from ..maps import SteeringMaps

_UNITS = ("prompts", "seeds")
"""Kinds of rows that are drawn anew from the same law: means over them have intervals."""

_DRAWN = ("style_probability", "clip_style", "clip_prompt", "similarity_to_unsteered", "directional_similarity")
"""Scores with a picture of their own; the CLIPScores are the same curves on another scale, and in the table."""

_MOST_LINES = 7


def grid_page(grid: StyleGrid, *, maps: Mapping[str, SteeringMaps] | None = None, command: str = "") -> Page:
    """What the report of a grid says.

    Args:
        grid: rendered; curves and tables need it scored.
        maps: adapter -> maps, to show where in the model they act and how they were learned.
        command: a command line that makes the grid again.
    """
    strips = [_strip(grid, number) for number in range(len(grid.rows))]
    cells = [cell for row in grid.rows for cell in row]
    scored = any(cell.scores for cell in cells)
    return Page(
        title=grid.title or grid.kind,
        lead=_lead(grid),
        columns=grid.column_labels,
        along="strength" if _turns_one(grid) else grid.kind.rpartition(" x ")[2],
        strips=strips,
        dials=_dials(grid, strips),
        small=is_small(cells[0].image),
        pictures_note=f"Every row is made from one noise. {_below(cells)}{STORED}",
        sections=[
            *([_scores(grid)] if scored else []),
            *([_evenness(grid)] if scored and _has_curves(grid) else []),
            *support_section(maps or {}),
        ],
        facts=[Facts("Pictures", _facts(grid)), *facts_of_maps(maps or {})],
        command=command,
    )


def _turns_one(grid: StyleGrid) -> bool:
    """Whether each row turns a dial of its own, rather than rows one and columns another."""
    return grid.kind.endswith("strengths")


def _lead(grid: StyleGrid) -> str:
    model, (rows, columns) = grid.facts.get("model"), grid.kind.split(" x ")
    size = f"{len(grid.rows)} {rows} x {len(grid.rows[0])} {columns}"
    if not _turns_one(grid):
        size = f"{rows} at {len(grid.rows)} strengths x {columns} at {len(grid.rows[0])}"
    return size + (f", made with {model}." if model else ".")


def _below(cells: Sequence[Cell]) -> str:
    name = _main_score(cells)
    return f"Under each picture: {SCORES[name].header}. " if name else ""


def _main_score(cells: Sequence[Cell]) -> str:
    return next((name for name in _DRAWN if any(name in cell.scores for cell in cells)), "")


def _strip(grid: StyleGrid, number: int) -> Strip:
    row, label = grid.rows[number], grid.row_labels[number]
    main = _main_score([cell for cells in grid.rows for cell in cells])
    pictures = []
    for cell, column in zip(row, grid.column_labels, strict=True):
        uri, width, height = data_uri(cell.image)
        scores = {_short(name): f"{cell.scores[name]:.3f}" for name in _DRAWN if name in cell.scores}
        caption = f"{cell.scores[main]:.2f}" if main in cell.scores else ""
        shown = column if _turns_one(grid) else column.rpartition(" ")[2]
        pictures.append(Picture(uri, _alt(cell, grid, number, column), shown, cell.strength, scores, caption, width, height))
    noted = f"seed {row[0].seed}"
    return Strip(label, "" if label == noted or not _turns_one(grid) else noted, pictures)


def _alt(cell: Cell, grid: StyleGrid, number: int, column: str) -> str:
    """A picture in words: its prompt and where the dials stand."""
    if _turns_one(grid):
        where = f"strength {column}"
        label = grid.row_labels[number]
        return f"{cell.prompt}, {where}" if label == cell.prompt else f"{cell.prompt}, {label}, {where}"
    return f"{cell.prompt}, {grid.row_labels[number]}, {column}"


def _short(name: str) -> str:
    return {
        "style_probability": "P(style)",
        "clip_style": "CLIP, style",
        "clip_prompt": "CLIP, prompt",
        "similarity_to_unsteered": "like strength 0",
        "directional_similarity": "direction",
    }[name]


def _dials(grid: StyleGrid, strips: Sequence[Strip]) -> list[Dial]:
    """A slider for each row, or one picture with two sliders where rows and columns are dials."""
    if len(grid.column_labels) < 2:
        return []
    if _turns_one(grid):
        return [Dial(strip.label, strip.note, [number]) for number, strip in enumerate(strips)]
    first = grid.kind.partition(" x ")[0]
    cell = grid.rows[0][0]
    return [Dial(cell.prompt, f"seed {cell.seed}", range(len(strips)), across=first)]


def _known_columns(grid: StyleGrid, name: str) -> list[int]:
    """Columns in which every row has a score, by ascending strength."""
    known = [c for c in range(len(grid.rows[0])) if all(name in row[c].scores for row in grid.rows)]
    return sorted(known, key=lambda column: grid.rows[0][column].strength)


def _scores(grid: StyleGrid) -> Section:
    """Curves of the scores over strength, and the numbers behind them."""
    figures = []
    for name in _DRAWN:
        columns = _known_columns(grid, name)
        if len(columns) > 1:
            plot = curves_plot(_curves(grid, name, columns), figure=_short(name), title=f"{name} against strength",
                               bounds=(-0.03, 1.03) if SCORES[name].low == 0 and SCORES[name].high == 1 else None,
                               along="strength" if _turns_one(grid) else grid.kind.rpartition(" x ")[2])  # fmt: skip
            figures.append(Figure(plot, SCORES[name].header, SCORES[name].meaning))
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
    chosen = sorted({round(i) for i in np.linspace(0, len(values) - 1, _MOST_LINES)})
    return [Curve(grid.row_labels[i], strengths, values[i : i + 1]) for i in chosen]


def _score_table(grid: StyleGrid) -> Table:
    names = [name for name in SCORES if _known_columns(grid, name)]
    rows = []
    for number, label in enumerate(grid.column_labels):
        found = [[row[number].scores.get(name, np.nan) for row in grid.rows] for name in names]
        rows.append([label, *(_interval(values) for values in found)])
    heads = [SCORES[name].header for name in names]
    return Table("Mean over rows [95% interval], at each strength", ["strength", *heads], rows)


def _interval(values: Sequence[float], digits: int = 3) -> str:
    if np.isnan(values).any():
        return "–"
    mean, low, high = bootstrap_interval(np.array(values))
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]" if len(values) > 1 else f"{mean:.{digits}f}"


def _has_curves(grid: StyleGrid) -> bool:
    strengths = {cell.strength for cell in grid.rows[0]}
    return bool(grid.embeddings) and len(strengths) == len(grid.rows[0]) > 1 and all("clip_style" in c.scores for c in grid.rows[0])


def _evenness(grid: StyleGrid) -> Section:
    """How well the dial turns: the figures of every row's curve."""
    figures = grid.curve_figures("clip_style")
    rows = [
        [label, *("–" if np.isnan(row[name]) else f"{row[name]:.3f}" for name in CURVES)]
        for label, row in zip(grid.row_labels, figures, strict=True)
    ]
    if _over_units(grid) and len(figures) > 1:
        mean = [_interval([row[name] for row in figures]) for name in CURVES]
        rows.insert(0, ["mean [95% interval]", *mean])
    text = " ".join(f"{figure.name}: {figure.meaning}" for figure in CURVES.values())
    heads = [figure.header for figure in CURVES.values()]
    return Section("How evenly it turns", text, tables=[Table("Of the raw CLIP cosine with the style", ["row", *heads], rows)])


def _facts(grid: StyleGrid) -> list[tuple[str, str]]:
    seeds = sorted({cell.seed for row in grid.rows for cell in row})
    texts = [(f"scored against, {name}", f"{t.text} / {t.neutral}") for name, t in grid.texts.items()]
    return [
        ("strengths", ", ".join(f"{value:g}" for value in sorted({c.strength for row in grid.rows for c in row}))),
        ("seeds", ", ".join(map(str, seeds))),
        *flat_facts(grid.facts),
        *texts,
    ]
