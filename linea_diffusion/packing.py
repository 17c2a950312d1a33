"""The numbers of steering maps as safetensors: dense, or index and value where that is smaller; zeros not at all."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, deserialize
from safetensors.torch import save
from torch import nn

from .affine import PARTS
from .errors import LineaError
from .wording import reason, short

LARGEST, MOST_MODULES = 2**28, 2**14
"""Numbers in all, and modules: several times what the largest models have."""
_ZEROS, _ZEROS_EACH = 2**23, 2**10
"""What maps may have in all: so many numbers, and so many more for each that is stored. Others are written dense."""
_DTYPES = {torch.float32: "F32", torch.int32: "I32"}
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(:[1-9][0-9]{0,3})?")
_TAKEN = frozenset(dir(nn.ModuleDict()))
# What one more entry costs in the header beside its name: dtype, shape and offsets as JSON, and the `_form`.
_ENTRY = 112

Shapes = dict[str, list[int]]


def check_shapes(modules: Any, place: str, *, bins: bool = True) -> Shapes:
    """The shape of the maps at each module: ``[d]`` or ``[bins, d]``.

    Args:
        modules: what to check: canonical module name -> list of 1 or 2 whole numbers.
        place: where it stands, for the error.
        bins: False for the first format: module name -> d.

    Raises:
        LineaError: no modules or too many, a name that none can have, a shape that is none, or too many numbers in all.
    """
    if not isinstance(modules, dict) or not modules:
        raise LineaError(f"got no list of modules in {place}: expected module names with their dimensions, as saved")
    if len(modules) > MOST_MODULES:
        raise LineaError(f"got {len(modules)} modules in {place}: expected at most {MOST_MODULES}; choose fewer")
    shapes = {_checked_name(name, place): _checked_shape(name, shape, place, bins) for name, shape in modules.items()}
    total = sum(math.prod(shape) for shape in shapes.values())
    if total > LARGEST:
        raise LineaError(f"got {total} numbers by the modules of {place}: expected at most {LARGEST}; choose fewer")
    return shapes


def check_numbers(numbers: Mapping[str, torch.Tensor]) -> Shapes:
    """The shapes of maps that are about to be written.

    Raises:
        LineaError: a key, a shape or a dtype that maps cannot have, half a map, or a number that is not finite.
    """
    modules: dict[str, list[int]] = {}
    for key, value in numbers.items():
        name, _, part = key.rpartition(".")
        shape = list(value.shape)
        if part not in PARTS:
            raise LineaError(f"got numbers named {key!r}: expected names that end with .{' or .'.join(PARTS)}")
        if value.dtype != torch.float32 or modules.setdefault(name, shape) != shape:
            raise LineaError(
                f"got {value.dtype} numbers of shape {tuple(shape)} for {key!r}: expected torch.float32, and one shape "
                f"for {' and '.join(PARTS)}"
            )
        _check_finite(value, key, "the maps")
    shapes = check_shapes(modules, "the maps")
    for name in shapes:
        for part in PARTS:
            if f"{name}.{part}" not in numbers:
                raise LineaError(f"got no {part} for {name!r}: expected {' and '.join(PARTS)} of each module")
    return shapes


def pack(numbers: Mapping[str, torch.Tensor]) -> bytes:
    """Maps as the bytes of a safetensors file.

    Each tensor is written as it is, or as ``<key>.index`` (int32, flat, rising) and ``<key>.value`` where that is
    smaller, or not at all when all of it is zero. Negative zeros are written as zeros. Where some module's shape can
    then not be told from its tensors, a print of all modules' shapes goes with them.

    Args:
        numbers: ``<module>.<part>`` for each of `PARTS` -> float32 tensors (d,) or (bins, d).
    """
    shapes = {key.rpartition(".")[0]: list(value.shape) for key, value in numbers.items()}
    sparse = _may_be(shapes, sum(int(value.count_nonzero()) for value in numbers.values()))
    packed = {}
    for key, value in numbers.items():
        # adding zero turns -0.0, which shrinking leaves behind, into 0.0
        dense = value.detach().cpu().contiguous() + 0.0
        flat = dense.flatten()
        index = flat.nonzero().squeeze(1)
        if sparse and not len(index):
            continue
        if sparse and 8 * len(index) + _ENTRY + len(key) < 4 * len(flat):
            packed[f"{key}.index"], packed[f"{key}.value"] = index.to(torch.int32), flat[index]
        else:
            packed[key] = dense
    shown = {key.rpartition(".")[0] for key in packed if key.rpartition(".")[2] in PARTS}
    return save(packed, None if shapes.keys() == shown else {"form": _form(shapes)})


def _may_be(shapes: Shapes, stored: int) -> bool:
    """Whether so few numbers may stand for maps of these shapes: a small file shall not take all memory."""
    return len(PARTS) * sum(map(math.prod, shapes.values())) <= _ZEROS + _ZEROS_EACH * stored


def _form(shapes: Shapes) -> str:
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:6]


def unpack(data: bytes, shapes: Shapes, place: str, *, sparse: bool = True) -> dict[str, torch.Tensor]:
    """The inverse of `pack`, with everything checked.

    Args:
        data: the bytes of a safetensors file.
        shapes: from `check_shapes`.
        place: where the bytes stand, for the error.
        sparse: False for the first format: every tensor is there and dense.

    Returns:
        ``<module>.<part>`` for each of `PARTS` -> float32 tensors of the module's shape.

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
    # files from before this print have none, and files whose tensors show every shape need none
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    if (header.get("__metadata__") or {}).get("form", _form(shapes)) != _form(shapes):
        raise LineaError(
            f"got {place} that was saved for other modules or shapes than its config.json names: expected two files of "
            "one save; save or download both again"
        )
    if not _may_be(shapes, sum(math.prod(entry["shape"]) for entry in entries.values())):
        raise LineaError(
            f"got modules of {sum(map(math.prod, shapes.values()))} numbers for the few in {place}: expected shapes "
            "that they are enough for; save again"
        )
    numbers = {}
    for name, shape in shapes.items():
        for part in PARTS:
            key = f"{name}.{part}"
            numbers[key] = _unpacked(entries, key, shape, place, sparse)
            _check_finite(numbers[key], key, place)
    if entries:
        raise LineaError(
            f"got {min(entries)!r} in {place}: expected only the modules of its config.json; save or download again"
        )
    return numbers


def _unpacked(entries: dict[str, Any], key: str, shape: list[int], place: str, sparse: bool) -> torch.Tensor:
    halves = [half for half in ("index", "value") if sparse and f"{key}.{half}" in entries]
    if len(halves) == 1 or (halves and key in entries) or (not sparse and key not in entries):
        found = [name for name in (key, f"{key}.index", f"{key}.value") if name in entries]
        raise LineaError(
            f"got {', '.join(found) or 'nothing'} for {key!r} in {place}: expected either {key!r}"
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


def _checked_name(name: Any, place: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
        raise LineaError(
            f"got a module named {short(name)} in {place}: expected a dotted name such as unet.mid_block.attentions.0 "
            "or unet.block:1"
        )
    return name


def _checked_shape(name: str, shape: Any, place: str, bins: bool) -> list[int]:
    dimensions = shape if bins else [shape]
    fits = isinstance(dimensions, list) and len(dimensions) in (1, 2)
    if not fits or not all(type(size) is int and 0 < size <= LARGEST for size in dimensions):
        expected = "[d] or [bins, d], whole numbers above 0" if bins else "a whole number above 0"
        raise LineaError(
            f"got {short(shape)} as the dimensions of {name!r} in {place}: expected {expected} and at most {LARGEST}"
        )
    return dimensions


def _check_finite(value: torch.Tensor, key: str, place: str) -> None:
    if not bool(value.isfinite().all()):
        raise LineaError(f"got NaN or infinity in {key!r} of {place}: expected finite numbers; train again")
