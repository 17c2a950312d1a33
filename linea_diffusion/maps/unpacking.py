"""Steering maps read back from the bytes of a safetensors file, with everything checked."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from safetensors import SafetensorError, deserialize

from ..errors import LineaError, reason
from .packing import Shapes, check_finite, form_of, may_be, pairs_of, parts_of, tell_shapes

_DTYPES = {torch.float32: "F32", torch.int32: "I32"}
_FORM_SINCE = 3
"""The format from which on shapes that cannot be told from tensors always have a print."""


def unpack(data: bytes, shapes: Shapes, place: str, *, version: int) -> dict[str, torch.Tensor]:
    """The inverse of `pack`, with everything checked.

    Args:
        data: the bytes of a safetensors file.
        shapes: from `check_shapes`.
        place: where the bytes stand, for the error.
        version: of the format: in the first, every tensor is there and dense.

    Returns:
        ``<module>.<part>`` for each of `parts_of` a module's shape -> float32 tensors.

    Raises:
        LineaError: not safetensors, of other shapes, keys missing or too many, far too few numbers, another dtype or
            shape, an index that is out of range or does not rise, or a number that is not finite.
    """
    try:
        entries = dict(deserialize(data))
    except SafetensorError as error:
        raise LineaError(
            f"got {place} that is damaged ({reason(error)}): expected safetensors as saved; save or download again"
        ) from None
    # older files have no print, and files whose tensors show every shape need none
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    unsaid = None if version >= _FORM_SINCE and not tell_shapes(entries, shapes) else form_of(shapes)
    if (header.get("__metadata__") or {}).get("form", unsaid) != form_of(shapes):
        raise LineaError(
            f"got {place} that was saved for other modules or shapes than its config.json names: expected two files of "
            "one save; save or download both again"
        )
    if not may_be(shapes, sum(math.prod(entry["shape"]) for entry in entries.values())):
        raise LineaError(
            f"got modules of {pairs_of(shapes)} numbers for the few in {place}: expected shapes "
            "that they are enough for; save again"
        )
    numbers = {}
    for name, shape in shapes.items():
        for part, wanted in parts_of(shape).items():
            key = f"{name}.{part}"
            numbers[key] = _unpacked(entries, key, wanted, place, sparse=version > 1)
            check_finite(numbers[key], key, place)
    if entries:
        raise LineaError(
            f"got {min(entries)!r} in {place}: expected only the modules of its config.json; save or download again"
        )
    return numbers


def _unpacked(entries: dict[str, Any], key: str, shape: list[int], place: str, *, sparse: bool) -> torch.Tensor:
    halves = [half for half in ("index", "value") if sparse and f"{key}.{half}" in entries]
    if len(halves) == 1 or (halves and key in entries) or (not sparse and key not in entries):
        names = [name for name in (key, f"{key}.index", f"{key}.value") if name in entries]
        raise LineaError(
            f"got {', '.join(names) or 'nothing'} for {key!r} in {place}: expected either {key!r}"
            f"{' or both its index and value' if sparse else ''}; save or download again"
        )
    if key in entries:
        return _taken(entries, key, torch.float32, shape, place)
    if halves:
        return _scattered(entries, key, shape, place)
    return torch.zeros(shape)


def _scattered(entries: dict[str, Any], key: str, shape: list[int], place: str) -> torch.Tensor:
    dense = torch.zeros(math.prod(shape))
    # an index is flat, never empty and never longer than the tensor; its value has the same shape
    count = [max(1, min(math.prod(entries[f"{key}.index"]["shape"]), len(dense)))]
    index = _taken(entries, f"{key}.index", torch.int32, count, place).long()
    if index[0] < 0 or index[-1] >= len(dense) or not bool((index.diff() > 0).all()):
        raise LineaError(
            f"got {key}.index in {place} that leaves 0 to {len(dense) - 1} or does not rise: expected each number's "
            "place once, in order; save or download again"
        )
    dense[index] = _taken(entries, f"{key}.value", torch.float32, count, place)
    return dense.reshape(shape)


def _taken(entries: dict[str, Any], key: str, dtype: torch.dtype, shape: list[int], place: str) -> torch.Tensor:
    entry = entries.pop(key)
    if (entry["dtype"], entry["shape"]) != (_DTYPES[dtype], shape):
        raise LineaError(
            f"got {entry['dtype']} of shape {tuple(entry['shape'])} for {key!r} in {place}: expected {_DTYPES[dtype]} "
            f"({str(dtype).removeprefix('torch.')}) of shape {tuple(shape)}; save or download again"
        )
    return torch.frombuffer(entry["data"], dtype=dtype).reshape(shape)
