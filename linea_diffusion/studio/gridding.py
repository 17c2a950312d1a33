"""Grids of a window's styles: which plan is meant, how far it is, and the files that it becomes."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import LineaError, check_seed
from ..grids.kinds import plan_dials, plan_prompts, plan_seeds, plan_styles
from ..grids.plans import Plan
from ..grids.report.grid_page import grid_page
from ..grids.report.inline_images import data_uri, is_small
from ..grids.report.page import write_report
from ..grids.style_grid import StyleGrid
from ..scoring.figures import figure_of, names_in
from ..steering.parsing import parse_strengths
from .workbench import Workbench

KINDS = ("prompts", "styles", "seeds", "style against style")
FORMS = ("PNG", "GIF", "report", "pictures")
MOST = 400
"""Pictures in one grid."""
SEEDS = 4


def plan_of(
    bench: Workbench, kind: str, prompts: Sequence[str], styles: Sequence[str], strengths: str, seed: Any
) -> Plan:
    """What to render.

    Args:
        bench: the window's.
        kind: of its rows, one of `KINDS`.
        prompts: the first alone counts where rows are not prompts.
        styles: that turn: all of them together in rows of prompts and seeds.
        strengths: as people type them.
        seed: of the first row.

    Raises:
        LineaError: nothing to render, or too much.
    """
    if kind not in KINDS or not prompts or not styles:
        raise LineaError("got a grid without prompts or styles: expected at least one of each")
    values, first = parse_strengths(strengths), check_seed(seed)
    turned = [dict.fromkeys(styles, value) for value in values]
    title = ", ".join(styles)
    if kind == "prompts":
        plan = plan_prompts(bench.pipe, prompts, turned, seeds=[first] * len(prompts), style=title)
    elif kind == "seeds":
        seeds = range(first, first + SEEDS)
        plan = plan_seeds(bench.pipe, prompts[0], turned, seeds=list(seeds), style=title)
    elif kind == "styles":
        plan = plan_styles(bench.pipe, prompts[0], values, styles=list(styles), seed=first)
    else:
        if len(styles) != 2:
            raise LineaError(f"got {len(styles)} styles for style against style: expected two")
        plan = plan_dials(bench.pipe, prompts[0], values, adapters=(styles[0], styles[1]), seed=first)
    count = len(plan.rows) * len(plan.columns)
    if count > MOST:
        raise LineaError(f"got a grid of {count} pictures: expected {MOST} at most; linea grid renders more")
    return plan


def render_grid(bench: Workbench, plan: Plan, *, scores: bool) -> StyleGrid:
    """The grid of a plan, rendered, and scored if that is wanted.

    Raises:
        LineaError: somebody stopped it, no CLIP, or what `StyleGrid.of_plan` raises.
    """
    bench.halt.begin()
    with bench.model.turns.turn(), bench.halt.halts(bench.pipe):
        grid = StyleGrid.of_plan(bench.pipe, plan, **bench.model.arguments)
    if scores:
        grid.score(bench.model.clip)
    bench.grid = grid
    return grid


def grid_value(grid: StyleGrid) -> dict[str, Any]:
    """A grid as the page understands it."""
    names = names_in(cell.scores for cell in grid.cells)
    figure = figure_of(names[0]) if names else None
    rows = [
        {"label": label, "cells": [
            {"src": data_uri(cell.image)[0], "alt": f"{label}: {column}",
             "score": f"{cell.scores[names[0]]:.3f}" if names and names[0] in cell.scores else ""}
            for column, cell in zip(grid.column_labels, row, strict=True)
        ]}
        for label, row in zip(grid.row_labels, grid.rows, strict=True)
    ]  # fmt: skip
    return {
        "columns": grid.column_labels, "rows": rows, "small": is_small(grid.rows[0][0].image), "title": grid.title,
        "score": f"Below each picture: {figure.label}, {figure.convention}. {figure.meaning}" if figure else "",
    }  # fmt: skip


def grid_file(bench: Workbench, form: str) -> Path:
    """A file of the window's last grid.

    Args:
        bench: the window's.
        form: one of `FORMS`: a picture, an animation over strength, a report that opens anywhere, or the single
            pictures in an image folder, zipped.

    Raises:
        LineaError: no grid yet, or one that cannot be that.
    """
    grid = bench.grid
    if grid is None or form not in FORMS:
        raise LineaError("got no grid yet: expected one to be made first")
    if form == "PNG":
        grid.save(path := bench.folder / "grid.png")
    elif form == "GIF":
        grid.save_animation(path := bench.folder / "grid.gif")
    elif form == "report":
        used = dict.fromkeys(name for cell in grid.cells for name in cell.strengths if name in bench.pipe.steering)
        page = grid_page(grid, maps={name: bench.pipe.steering[name] for name in used}, command="linea studio")
        write_report(page, path := bench.folder / "report.html")
    else:
        grid.save_images(folder := bench.folder / "pictures")
        path = folder.with_suffix(".zip")
        with zipfile.ZipFile(path, "w") as file:
            for one in sorted(folder.iterdir()):
                file.write(one, f"pictures/{one.name}")
    return path
