"""Rendering a plan: whole rows in batches within a bound, each picture from its row's noise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from .. import __version__
from ..concepts.notices import noticing
from ..errors import LineaError, as_whole, make_folder, short
from ..maps.digests import numbers_digest
from ..maps.steering_maps import SteeringMaps
from ..pipelines.rendering.batch_size import BatchSize
from ..pipelines.rendering.render import images_of
from ..pipelines.rendering.requests import Request, requests_of
from ..progress import stage
from ..steering.addresses import model_name
from .image_folder import cell_file
from .plans import Cell, Plan, PlanRow


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
        LineaError: a batch size below 1, an argument that rendering sets itself, or a picture that shows nothing.
    """
    wanted = len(plan.columns) if batch_size is None else as_whole(batch_size) or 0
    if wanted < 1:
        raise LineaError(f"got batch_size={short(batch_size)}: expected at least 1 picture")
    places = [(row, column) for row in range(len(plan.rows)) for column in range(len(plan.columns))]
    rows: list[list[Cell]] = [[] for _ in plan.rows]
    with noticing(pipe.base), loaded(pipe, plan.maps):
        names = list(pipe.steering)
        requests = list(requests_of(pipe, [_terms(plan.rows[row], column, names) for row, column in places], arguments))
        if folder is not None:
            make_folder(folder)
        pictures = _pictures(pipe, requests, len(plan.columns), wanted)
        with stage("render", len(places), unit="picture") as going:
            for (row, column), request, picture in zip(places, requests, pictures, strict=True):
                file = None if folder is None else folder / cell_file(row, column)
                rows[row].append(_cell(plan.rows[row], column, request, picture, file))
                going.update()
    return rows


def _terms(row: PlanRow, column: int, names: Sequence[str]) -> tuple[str, int, dict[str, float]]:
    """Prompt, seed and strengths of a picture."""
    words = row.asked[column] if row.asked else None
    return row.prompt if words is None else words, row.seed, {name: row.dials[column].get(name, 0.0) for name in names}


def _pictures(pipe: Any, requests: Sequence[Request], columns: int, wanted: int) -> Iterator[Image.Image]:
    """The pictures of whole rows in common calls, or of each row by itself where it is longer than a call may be."""
    fits = wanted // columns * columns
    size, step = BatchSize(fits or wanted, pipe.base), len(requests) if fits else columns
    for start in range(0, len(requests), step):
        yield from images_of(pipe, requests[start : start + step], size)


def _cell(row: PlanRow, column: int, request: Request, picture: Image.Image, file: Path | None) -> Cell:
    if file is not None:
        picture.save(file)
    strengths: Any = request.strengths
    return Cell(
        row.prompt, row.strengths[column], row.seed, picture if file is None else file,
        {name: float(value) for name, value in strengths.items()},
        row.style, row.method, row.asked[column] if row.asked else None,
    )  # fmt: skip


@contextmanager
def loaded(pipe: Any, maps: Mapping[str, SteeringMaps]) -> Iterator[None]:
    """Within the context some maps are loaded beside the pipeline's own; names that it has are lent to them."""
    before, sources = dict(pipe.steering), dict(pipe.steering.sources)
    try:
        for name, one in maps.items():
            pipe.load_steering(one, name, replace=True)
        yield
    finally:
        pipe.steering.clear()
        pipe.steering.update(before)
        pipe.steering.sources = sources


def grid_facts(
    pipe: Any, plan: Plan, arguments: Mapping[str, Any], *, calibrated: bool | None = None
) -> dict[str, Any]:
    """What pictures were made with, as JSON holds it: model, maps' digests and dials, versions, the calls' arguments.

    Raises:
        LineaError: ``calibrated=True`` with maps that never were.
    """
    libraries = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    all_maps = {**pipe.steering, **plan.maps}
    used = dict.fromkeys(name for row in plan.rows for dial in row.dials for name in dial)
    settings = {**pipe.default_arguments, **arguments}
    return {
        "model": model_name(pipe.base) or type(pipe.base).__name__,
        "pipeline": type(pipe.base).__name__,
        "device": str(pipe.device),
        "maps": {name: numbers_digest(all_maps[name]) for name in used},
        "dials": {name: all_maps[name].dial(calibrated).name for name in used},
        "library_versions": {"linea-diffusion": __version__, **libraries},
        "arguments": {name: _plain(value) for name, value in settings.items()},
    }


def _plain(value: Any) -> Any:
    """JSON's own types stay; anything else is told by its type."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return f"a {type(value).__name__}"
