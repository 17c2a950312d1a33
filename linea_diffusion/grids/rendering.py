"""Rendering a plan: whole rows in batches within a bound, each picture from its row's noise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from .. import __version__
from ..concepts.notices import noticing
from ..errors import LineaError, as_whole, make_folder, short
from ..maps.digests import numbers_digest
from ..maps.steering_maps import SteeringMaps
from ..pipelines.calling import generators
from ..pipelines.overflow import usable_pictures
from ..pipelines.prompts import repeat_arguments
from .image_folder import cell_file
from .plans import Cell, Plan

_OWN = {
    "generator": "seeds=",
    "prompt": "prompts",
    "strength": "strengths",
    "num_images_per_prompt": "several seeds",
    "output_type": "pictures",
    "return_dict": "pictures",
}
"""Arguments of a call that a grid gives itself -> what to use instead."""


def render_cells(
    pipe: Any, plan: Plan, *, batch_size: int | None = None, folder: Path | None = None, **arguments: Any
) -> list[list[Cell]]:
    """The cells of a plan, rendered; the adapters of `pipe` are afterwards what they were.

    Args:
        pipe: a `LinEASDiffusionPipeline`.
        plan: what to render.
        batch_size: pictures at once: as many whole rows as fit, and a longer row in pieces. A row when left out.
        folder: where the pictures are written as soon as they are made, and left out of memory.
        **arguments: of the pipeline's calls.

    Raises:
        LineaError: a batch size below 1, an argument that the grid gives itself, or a picture that shows nothing.
    """
    taken = next((name for name in _OWN if name in arguments), None)
    if taken:
        raise LineaError(
            f"got {taken}={arguments[taken]!r} for a grid, which gives it itself: use {_OWN[taken]} instead"
        )
    if batch_size is not None and (as_whole(batch_size) or 0) < 1:
        raise LineaError(f"got batch_size={short(batch_size)}: expected at least 1 picture")
    if folder is not None:
        make_folder(folder)
    places = [(row, column) for row in range(len(plan.rows)) for column in range(len(plan.columns))]
    rows: list[list[Cell]] = [[] for _ in plan.rows]
    with noticing(pipe.base), loaded(pipe, plan.maps), tqdm(total=len(places), desc="render", unit="picture") as bar:
        names = list(pipe.steering)
        for batch in _batches(len(plan.rows), len(plan.columns), batch_size or len(plan.columns)):
            for (row, column), picture in zip(batch, _render(pipe, plan, names, batch, arguments), strict=True):
                rows[row].append(_cell(plan, names, row, column, picture, folder))
            bar.update(len(batch))
    return rows


def _batches(rows: int, columns: int, size: int) -> Iterator[list[tuple[int, int]]]:
    """(row, column) of the pictures of each batch."""
    places = [(row, column) for row in range(rows) for column in range(columns)]
    if columns <= size:
        step = size // columns * columns
        yield from (places[start : start + step] for start in range(0, len(places), step))
        return
    for row in range(rows):
        whole = places[row * columns : (row + 1) * columns]
        yield from (whole[start : start + size] for start in range(0, columns, size))


def _render(
    pipe: Any, plan: Plan, names: Sequence[str], batch: Sequence[tuple[int, int]], arguments: Mapping[str, Any]
) -> Sequence[Any]:
    rows = [plan.rows[row] for row, _ in batch]
    asked = [row.asked[column] if row.asked else None for row, (_, column) in zip(rows, batch, strict=True)]
    strengths = {
        name: [row.dials[column].get(name, 0.0) for row, (_, column) in zip(rows, batch, strict=True)]
        for name in names
    }  # fmt: skip
    # what the user gave for one prompt, such as a negative one, for as many as there are
    given = repeat_arguments({**pipe.default_arguments, **arguments}, len(batch), pipe.base)
    given["generator"] = generators([row.seed for row in rows])
    prompts = [row.prompt if words is None else words for row, words in zip(rows, asked, strict=True)]
    return usable_pictures(pipe, prompts, strength=strengths, **given)


def _cell(plan: Plan, names: Sequence[str], row: int, column: int, picture: Any, folder: Path | None) -> Cell:
    spec = plan.rows[row]
    cell = Cell(
        spec.prompt, spec.strengths[column], spec.seed, picture,
        {name: float(spec.dials[column].get(name, 0.0)) for name in names},
        spec.style, spec.method, spec.asked[column] if spec.asked else None,
    )  # fmt: skip
    if folder is not None:
        cell.picture = folder / cell_file(row, column)
        picture.save(cell.picture)
    return cell


@contextmanager
def loaded(pipe: Any, maps: Mapping[str, SteeringMaps]) -> Iterator[None]:
    """Within the context some maps are loaded beside the pipeline's own; names that it has are lent to them."""
    before = dict(pipe.steering)
    try:
        for name, own in maps.items():
            pipe.load_steering(own, name)
        yield
    finally:
        pipe.steering.clear()
        pipe.steering.update(before)


def grid_facts(
    pipe: Any, plan: Plan, arguments: Mapping[str, Any], *, calibrated: bool | None = None
) -> dict[str, Any]:
    """What pictures were made with, as JSON holds it: model, maps' digests and dials, versions, the calls' arguments.

    Raises:
        LineaError: ``calibrated=True`` with maps that never were.
    """
    libraries = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    known = {**pipe.steering, **plan.maps}
    used = dict.fromkeys(name for row in plan.rows for dial in row.dials for name in dial)
    given = {**pipe.default_arguments, **arguments}
    return {
        "model": str(getattr(pipe.base.config, "_name_or_path", "") or type(pipe.base).__name__),
        "pipeline": type(pipe.base).__name__,
        "device": str(pipe.device),
        "maps": {name: numbers_digest(known[name]) for name in used},
        "dials": {name: known[name].dial(calibrated).name for name in used},
        "library_versions": {"linea-diffusion": __version__, **libraries},
        "arguments": {name: _plain(value) for name, value in given.items()},
    }


def _plain(value: Any) -> Any:
    """JSON's own types stay; anything else is told by its type."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return f"a {type(value).__name__}"
