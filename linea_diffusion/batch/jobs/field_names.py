"""The names of a job's fields with what they say, and what becomes of columns that are no fields."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ...errors import LineaError, short

FIELDS = {
    "prompt": "text; {a,b} are alternatives, \\{ is a brace; needed",
    "negative_prompt": "text, as above",
    "seed": "a number, or a list: an image each",
    "images": "how many seeds upwards from each",
    "strength": "a number, a list (an image each), 0:1:5, or {name: number}",
    "steering": "name of an adapter, folder of maps, Hub id, or a list",
    "steps": "denoising steps",
    "guidance": "guidance scale",
    "width": "pixels",
    "height": "pixels",
    "size": "512, or 768x512, instead of width and height",
    "denoising_strength": "the strength of image-to-image pipelines",
    "composition": "sum or chain, of several styles",
    "calibrated": "true or false: how strengths are read",
    "steering_guidance": "both or cond",
    "steering_start": "share of the schedule, 0 to 1",
    "steering_end": "share of the schedule, 0 to 1",
    "strength_curve": "over the schedule, times all strengths: 0:0,0.3:1",
    "mask": "picture file: maps act where it is white",
    "masking": "pictures, activations or activations+text",
}
"""Every field of a job -> what it may hold; the arguments of the base pipeline come on top."""
META = "meta"
"""Before the names of columns that are carried into the metadata, with a dot; or an object that holds them."""
_ALIKE, _LONGEST = 0.8, 100


def split_columns(fields: Mapping[str, Any], known: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a line, which are `known`, and its other columns as they are carried into the metadata.

    What is called ``meta.NAME``, or is in an object called ``meta``, is a column in any case.

    Raises:
        LineaError: a name that is no field and nearly is one, or a column that is there twice.
    """
    own, columns = dict[str, Any](), dict[str, Any]()
    for name, value in fields.items():
        if name in known:
            own[name] = value
            continue
        for key, one in (value if name == META and isinstance(value, Mapping) else {name: value}).items():
            column = _column(str(key), known)
            if column in columns:
                raise LineaError(f"got the column {short(column)} twice: expected it once")
            columns[column] = column_value(one)
    return own, {name: value for name, value in columns.items() if value is not None}


def _column(name: str, known: tuple[str, ...]) -> str:
    """What a column is called in the metadata, behind ``meta.``."""
    if not name.startswith(f"{META}.") and (hint := misspelt(name, known)) is not None:
        raise LineaError(
            f"got unknown field {short(name)}: expected a field of jobs, or {META}.{short(name)[1:-1]} as the name of "
            f"a column to carry into the metadata{hint}"
        )
    own = _whole(name.removeprefix(f"{META}.")) or "index"  # pandas leaves the name of its index empty
    return re.sub(r"_(file_names?)$", r".\1", own)  # which datasets would take for files to load


@lru_cache(maxsize=4096)
def misspelt(name: str, known: tuple[str, ...]) -> str | None:
    """``; nearest: FIELD`` of a name that seems to mean a field, None for a column of somebody's own.

    ``prompt_id`` and ``seed_group`` say something of a field, and are none of it.
    """
    if len(name) > _LONGEST:
        return ""
    of_field, _, what = name.rpartition("_")
    if of_field in known and not what.isdecimal():  # prompt_2 is another pipeline's field
        return None
    words = "_".join(name.lower().replace("-", " ").split())
    near = difflib.get_close_matches(words, known, n=1, cutoff=_ALIKE)
    return f"; nearest: {near[0]}" if near else None


def column_value(value: Any) -> Any:
    """A value as tables can hold it: text, a number of 64 bits, a truth value, a list of these, or None."""
    if isinstance(value, WrittenNumber):
        return value.text
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, list | tuple) and not any(isinstance(one, list | tuple | Mapping) for one in value):
        return [column_value(one) for one in value]
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | tuple | Mapping) else value
    return _whole(str(text))


def _whole(text: str) -> str:
    """A text without halves of characters, which no table can hold."""
    return text.encode("utf-8", "replace").decode()


class WrittenNumber(float):
    """A number of a file whose ``text`` is not as Python would write it, such as ``1e5``, and may as well be a name."""

    def __init__(self, text: str) -> None:
        self.text = text
