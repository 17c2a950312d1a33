"""The report of a `StyleGrid`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .fact_sections import facts_of_maps, flat_facts, support_section
from .inline_images import STORED, data_uri, is_small
from .page import FactTable, Page, Picture, Slider, Strip
from .score_sections import column_name, drawn_in, score_sections, turns_one

if TYPE_CHECKING:
    from ...maps.steering_maps import SteeringMaps
    from .. import StyleGrid
    from ..plans import Cell


def grid_page(grid: StyleGrid, *, maps: Mapping[str, SteeringMaps] | None = None, command: str = "") -> Page:
    """What the report of a grid says.

    Args:
        grid: rendered; curves and tables need it scored.
        maps: adapter -> maps, to show where in the model they act and how they were learned.
        command: a command line that makes the grid again.
    """
    strips = [_strip(grid, number) for number in range(len(grid.rows))]
    cells = [cell for row in grid.rows for cell in row]
    return Page(
        title=grid.title or grid.kind,
        lead=_lead(grid),
        columns=grid.column_labels,
        along=column_name(grid),
        strips=strips,
        dials=_dials(grid, strips),
        small=is_small(cells[0].image),
        pictures_note=f"Every row is made from one noise. {_below(cells)}{STORED}",
        sections=[
            *score_sections(grid),
            *support_section(maps or {}),
        ],
        facts=[FactTable("Pictures", _facts(grid)), *facts_of_maps(maps or {})],
        command=command,
    )


def _lead(grid: StyleGrid) -> str:
    model, (rows, columns) = grid.facts.get("model"), grid.kind.split(" x ")
    size = f"{len(grid.rows)} {rows} x {len(grid.rows[0])} {columns}"
    if not turns_one(grid):
        size = f"{rows} at {len(grid.rows)} strengths x {columns} at {len(grid.rows[0])}"
    return size + (f", made with {model}." if model else ".")


def _below(cells: Sequence[Cell]) -> str:
    main = next(iter(drawn_in(cells).values()), None)
    return f"Under each picture: {main.header}. " if main else ""


def _strip(grid: StyleGrid, number: int) -> Strip:
    row, label = grid.rows[number], grid.row_labels[number]
    drawn = drawn_in(grid.cells)
    main = next(iter(drawn), "")
    pictures = []
    for cell, column in zip(row, grid.column_labels, strict=True):
        uri, width, height = data_uri(cell.image)
        scores = {one.label: f"{cell.scores[name]:.3f}" for name, one in drawn.items() if name in cell.scores}
        caption = f"{cell.scores[main]:.2f}" if main in cell.scores else ""
        pictures.append(
            Picture(uri, _alt(cell, grid, number, column), column, cell.strength, scores, caption, width, height)
        )
    noted = f"seed {row[0].seed}"
    return Strip(label, "" if label == noted or not turns_one(grid) else noted, pictures)


def _alt(cell: Cell, grid: StyleGrid, number: int, column: str) -> str:
    """A picture in words: its prompt and where the dials stand."""
    if turns_one(grid):
        where = f"{column_name(grid)} {column}"
        label = grid.row_labels[number]
        return f"{cell.prompt}, {where}" if label == cell.prompt else f"{cell.prompt}, {label}, {where}"
    return f"{cell.prompt}, {grid.row_labels[number]}, {column}"


def _dials(grid: StyleGrid, strips: Sequence[Strip]) -> list[Slider]:
    """A slider for each row, or one picture with two sliders where rows and columns are dials."""
    if len(grid.column_labels) < 2:
        return []
    if turns_one(grid):
        return [Slider(strip.label, strip.note, [number]) for number, strip in enumerate(strips)]
    first = grid.kind.partition(" x ")[0]
    cell = grid.rows[0][0]
    return [Slider(cell.prompt, f"seed {cell.seed}", range(len(strips)), across=first)]


def _facts(grid: StyleGrid) -> list[tuple[str, str]]:
    seeds = sorted({cell.seed for row in grid.rows for cell in row})
    texts = [(f"scored against, {name}", f"{t.text} / {t.neutral}") for name, t in grid.texts.items()]
    return [
        ("strengths", ", ".join(f"{value:g}" for value in sorted({c.strength for row in grid.rows for c in row}))),
        ("seeds", ", ".join(map(str, seeds))),
        *flat_facts(grid.facts),
        *texts,
    ]
