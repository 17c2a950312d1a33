"""The columns of metadata.jsonl: the same in every line, each of one type, so that tables can be made of it.

Processes write what they know of an image as it is: ``steering`` and ``strength`` are lists, ``meta`` is an object.
When all lines are there it is known which columns they need.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from typing import Any

Row = dict[str, Any]
Kind = str | tuple[str, Any] | None
"""What a column holds: bool, int, float, text, a list of one of these, or None while nobody knows."""
_KINDS = {bool: "bool", int: "int", float: "float"}


class Columns:
    """The columns of a table, learned from all its rows."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self._styles: dict[str, None] = {}
        self._several = False

    def learn(self, row: Row) -> None:
        """See a row as a process wrote it."""
        steering = _strengths(row) or {}
        self._styles |= dict.fromkeys(steering)
        self._several |= len(steering) > 1
        for name, value in _flat(row).items():
            self._kinds[name] = _common(self._kinds.get(name), _kind(value))

    def table_row(self, row: Row) -> Row:
        """A row as it stands in the table.

        ``strength`` is that of the style that is on, 0.0 where none is, and None where several are. If some row names
        several styles, the strengths of all are columns of their own in every row, such as ``strength.neon``.
        """
        steering, flat, filled = _strengths(row), _flat(row), dict[str, Any]()
        for name, kind in self._kinds.items():
            filled[name] = _as(kind, flat.get(name))
            if name == "strength" and self._several and steering is not None:
                filled |= {f"strength.{style}": steering.get(style, 0.0) for style in self._styles}
        return filled


def strengths_in(row: Row) -> dict[str, float]:
    """Style -> strength of a line of metadata.jsonl, also of one that an earlier version wrote."""
    names = row["steering"]
    if (listed := _strengths(row)) is not None:
        return listed
    return {name: row[key] if (key := f"strength.{name}") in row else row["strength"] for name in names}


def _strengths(row: Row) -> dict[str, float] | None:
    names, numbers = row.get("steering"), row.get("strength")
    if not (isinstance(names, list) and isinstance(numbers, list) and len(names) == len(numbers)):
        return None
    return dict(zip(map(str, names), numbers, strict=True))


def _flat(row: Row) -> Row:
    """A row with one number as strength, and its further columns behind the others."""
    flat = {name: value for name, value in row.items() if name != "meta"}
    if (steering := _strengths(row)) is not None:
        on = [strength for strength in steering.values() if strength]
        flat["strength"] = None if len(on) > 1 else sum(on, 0.0)
    meta = row.get("meta")
    return flat | {f"meta.{name}": value for name, value in (meta if isinstance(meta, Mapping) else {}).items()}


def _kind(value: Any) -> Kind:
    if isinstance(value, list):
        return "list", reduce(_common, map(_kind, value), None)
    return None if value is None else _KINDS.get(type(value), "text")


def _common(one: Kind, other: Kind) -> Kind:
    """The kind that holds values of both."""
    if one is None or other is None or one == other:
        return other if one is None else one
    if isinstance(one, tuple) and isinstance(other, tuple):
        return "list", _common(one[1], other[1])
    return "float" if {one, other} == {"int", "float"} else "text"


def _as(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, tuple):
        return [_as(kind[1], one) for one in value]
    if kind == "text":
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return float(value) if kind == "float" else value
