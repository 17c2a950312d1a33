"""What a window shows of its workbench, as JSON holds it: first the picture, then the row of its dial."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from ..errors import LineaError, short
from ..grids.image_folder import single_record
from ..grids.report.inline_images import data_uri, is_small
from ..scoring.images.saving import encode
from .words import as_command, as_python
from .work import ERRORS, said
from .workbench import POSITIONS, Workbench

LARGEST_MASK = 2_000_000
"""Characters of a mask as a page sends it."""


def set_by_hand(bench: Workbench, told: Mapping[str, Any]) -> str:
    """Take over how a window's dials stand; returns the style that is turned.

    Args:
        bench: the window's.
        told: ``values`` (style -> strength), ``off`` (styles that rest), ``turning``, ``window`` (two shares of the
            schedule) and ``mask`` (a data URI, or None), as the page says them.

    Raises:
        LineaError: something else.
    """
    values, off, window = told.get("values"), told.get("off"), told.get("window")
    if not (isinstance(values, Mapping) and isinstance(off, Sequence) and isinstance(window, Sequence)):
        raise LineaError("got dials that are none: expected those of this page; load it anew")
    known = {name: value for name, value in values.items() if name in bench.pipe.steering}
    start, end = (float(one) if isinstance(one, int | float) else -1.0 for one in (*window, 0, 0)[:2])
    scene = replace(bench.scene, window=(start, end), mask=_mask(told.get("mask")))
    bench.scene = scene.at({name: 0.0 if name in off else value for name, value in known.items()})
    bench.resting = {name: float(known[name]) for name in off if name in known}
    turning = told.get("turning")
    return str(turning) if turning in bench.pipe.steering else bench.turning


def looks(bench: Workbench, turning: str, *, begin: bool = False, **asked: Any) -> Iterator[dict[str, Any]]:
    """What to show, from the first that is there to all of it.

    Args:
        bench: the window's.
        turning: the style whose dial is turned.
        begin: whether the page shall take the dials from here.
        **asked: ``scores``, ``fill`` (make the row, however long it takes) and ``keep`` (the picture as a file).
    """
    bench.halt.begin()
    bench.turning = turning
    try:
        yield from _looks(bench, begin, asked)
    except (LineaError, *ERRORS) as error:
        yield {**state_of(bench), "begin": begin, "error": said(error)}


def _looks(bench: Workbench, begin: bool, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    row = bench.row(bench.turning) if bench.turning else []
    if not bench.has([bench.scene, bench.scene.unsteered]):
        if not bench.pictured:
            bench.render([bench.scene])
            yield {**state_of(bench), "begin": begin, "busy": True}
            begin = False
        bench.render([bench.scene, bench.scene.unsteered])
    if row and not bench.has(row) and (asked.get("fill") or bench.is_quick):
        yield {**state_of(bench), "begin": begin, "busy": True}
        begin = False
        bench.render(row)
    last = {**state_of(bench), "begin": begin}
    if asked.get("keep"):
        last["download"] = file_of(bench)
    if asked.get("scores"):
        last |= _scores(bench)
    yield last


def state_of(bench: Workbench) -> dict[str, Any]:
    """All that is there, as the page understands it."""
    scene, turning = bench.scene, bench.turning
    strengths = scene.strengths
    state: dict[str, Any] = {
        "styles": [
            {"name": name, "value": bench.resting.get(name, strengths.get(name, 0.0)), "on": name not in bench.resting,
             "calibrated": bench.is_calibrated(name)}
            for name in bench.styles
        ],
        "turning": turning, "prompt": scene.prompt, "quick": bench.is_quick,
        "python": as_python(bench.pipe, bench.model.name, scene),
        "command": as_command(bench.pipe, bench.model.name, scene),
    }  # fmt: skip
    if bench.has([scene]):
        (picture,) = bench.pictures.of([scene])
        plain = bench.pictures.of([scene.unsteered])[0] if bench.has([scene.unsteered]) else picture
        state |= {
            "now": {"strengths": strengths, "src": _source(picture)}, "plain": _source(plain), "size": picture.size,
            "ratio": f"{picture.width} / {picture.height}", "small": is_small(picture),
        }  # fmt: skip
    row = bench.row(turning) if turning else []
    if row and bench.has(row):
        sources = map(_source, bench.pictures.of(row))
        state["row"] = [{"at": at, "src": source} for at, source in zip(POSITIONS, sources, strict=True)]
        state |= {"row_at": strengths, "row_of": turning}
    return state


def file_of(bench: Workbench) -> dict[str, str]:
    """The picture that is looked at as a PNG file with what it was made from inside, for a link."""
    grid = bench.as_grid([bench.scene], bench.turning)
    cell = grid.rows[0][0]
    data = encode(cell.image, "png", single_record(grid, cell))
    name = "-".join([*"".join(c if c.isalnum() else " " for c in cell.prompt).split()[:6], str(cell.seed)])
    return {"name": f"{name}.png", "src": f"data:image/png;base64,{base64.b64encode(data).decode()}"}


def _scores(bench: Workbench) -> dict[str, Any]:
    style = bench.turning
    if not style:
        return {"scores": [], "scores_of": "no style to score for"}
    try:
        scores = bench.scores(style)
    except LineaError as error:
        return {"scores": [], "scores_of": str(error)}
    figures = [
        {"label": one.label, "convention": one.convention, "meaning": one.meaning, "value": value}
        for one, value in scores
    ]
    return {"scores": figures, "scores_of": f"for {style}, by {bench.model.clip.name}"}


def _source(picture: Image.Image) -> str:
    return data_uri(picture)[0]


def _mask(uri: Any) -> bytes | None:
    if uri is None:
        return None
    start = "data:image/png;base64,"
    try:
        if not isinstance(uri, str) or not uri.startswith(start) or len(uri) > LARGEST_MASK:
            raise ValueError
        return base64.b64decode(uri.removeprefix(start), validate=True)
    except (ValueError, binascii.Error):
        raise LineaError(f"got the mask {short(uri)}: expected one that was drawn on the page") from None
