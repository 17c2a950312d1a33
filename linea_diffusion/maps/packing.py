"""The numbers of steering maps as safetensors: dense, or index and value where that is smaller; zeros not at all."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ..errors import LineaError, short
from ..steering.affine.affine_map import LOW_RANK, PARTS

LARGEST, MOST_MODULES = 2**28, 2**14
"""Pairs of numbers in all, w and b or U and V, and modules: several times what the largest models have."""
_ZEROS, _ZEROS_EACH = 2**23, 2**10
"""What maps may have in all: so many numbers, and so many more for each that is stored. Others are written dense."""
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(:[1-9][0-9]{0,3})?")
_TAKEN = frozenset(dir(nn.ModuleDict()))
_AXES = {1: (), 2: (1, 2), 3: (1, 2, 3)}
"""How many axes the shape of a map may have, by format; the first wrote d itself."""
# What one more entry costs in the header beside its name: dtype, shape and offsets as JSON, and the `_form`.
_ENTRY = 112

Shapes = dict[str, list[int]]


def parts_of(shape: list[int]) -> dict[str, list[int]]:
    """The shape of each tensor of a map by its name: a map (bins, d, r) with one bin has tensors (d,) and (d, r)."""
    if len(shape) < 3:
        return {part: shape for part in PARTS if part not in LOW_RANK}
    bins, features, rank = shape
    flat = [features] if bins == 1 else [bins, features]
    return {part: [*flat, rank] if part in LOW_RANK else flat for part in PARTS}


def pairs_of(shapes: Shapes) -> int:
    """How many pairs of numbers maps of these shapes have, w and b or U and V."""
    return sum(math.prod(tensor) for shape in shapes.values() for tensor in parts_of(shape).values()) // 2


def check_shapes(modules: Any, place: str, *, version: int = 3) -> Shapes:
    """The shape of the maps at each module: ``[d]``, ``[bins, d]``, or ``[bins, d, rank]`` with a low-rank part.

    Args:
        modules: what to check: canonical module name -> list of 1 to 3 whole numbers.
        place: where it stands, for the error.
        version: of the format: 2 knows no rank, and 1 has module name -> d.

    Raises:
        LineaError: no modules or too many, a name that none can have, a shape that is none, or too many numbers in all.
    """
    if not isinstance(modules, dict) or not modules:
        raise LineaError(f"got no list of modules in {place}: expected module names with their dimensions, as saved")
    if len(modules) > MOST_MODULES:
        raise LineaError(f"got {len(modules)} modules in {place}: expected at most {MOST_MODULES}; choose fewer")
    shapes = {
        _checked_name(name, place): _checked_shape(name, shape, place, _AXES[version])
        for name, shape in modules.items()
    }
    total = pairs_of(shapes)
    if total > LARGEST:
        raise LineaError(f"got {total} numbers by the modules of {place}: expected at most {LARGEST}; choose fewer")
    return shapes


def check_numbers(numbers: Mapping[str, torch.Tensor]) -> Shapes:
    """The shapes of maps that are about to be written.

    Raises:
        LineaError: a key, a shape or a dtype that maps cannot have, half a map, or a number that is not finite.
    """
    maps: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in numbers.items():
        name, _, part = key.rpartition(".")
        if part not in PARTS:
            raise LineaError(f"got numbers named {key!r}: expected names that end with .{' or .'.join(PARTS)}")
        maps.setdefault(name, {})[part] = value
    shapes = check_shapes({name: _shape_of(name, tensors) for name, tensors in maps.items()}, "the maps")
    for name, shape in shapes.items():
        for part, wanted in parts_of(shape).items():
            key, value = f"{name}.{part}", maps[name][part]
            if value.dtype != torch.float32 or list(value.shape) != wanted:
                raise LineaError(
                    f"got {value.dtype} numbers of shape {tuple(value.shape)} for {key!r}: expected torch.float32, and "
                    f"shape {tuple(wanted)}, one for each pair of {', '.join(PARTS)}"
                )
            check_finite(value, key, "the maps")
    return shapes


def _shape_of(name: str, tensors: Mapping[str, torch.Tensor]) -> list[int]:
    """What one map's tensors say of its shape."""
    mixes = any(part in tensors for part in LOW_RANK)
    lacking = [part for part in PARTS if part not in tensors and (mixes or part not in LOW_RANK)]
    if lacking:
        raise LineaError(
            f"got no {lacking[0]} for {name!r}: expected scale_offset and shift of each module, and up and down "
            "together where there is one of them"
        )
    if not mixes:
        return _checked_shape(name, list(tensors["shift"].shape), "the maps", _AXES[2])
    shape = list(tensors[LOW_RANK[0]].shape)
    return _checked_shape(name, [1, *shape] if len(shape) == 2 else shape, "the maps", _AXES[3][-1:])


def pack(numbers: Mapping[str, torch.Tensor], *, dense: bool = False) -> bytes:
    """Maps as the bytes of a safetensors file.

    Each tensor is written as it is, or as ``<key>.index`` (int32, flat, rising) and ``<key>.value`` where that is
    smaller, or not at all when all of it is zero. Negative zeros are written as zeros. Where some module's shape can
    then not be told from its tensors, a print of all modules' shapes goes with them.

    Args:
        numbers: ``<module>.<part>`` for each of `parts_of` a module's shape -> float32 tensors.
        dense: write every tensor as it is.

    Raises:
        LineaError: as `check_numbers`.
    """
    shapes = check_numbers(numbers)
    sparse = not dense and may_be(shapes, sum(int(value.count_nonzero()) for value in numbers.values()))
    packed = {}
    for key, value in numbers.items():
        # adding zero turns -0.0, which shrinking leaves behind, into 0.0
        whole = value.detach().cpu().contiguous() + 0.0
        flat = whole.flatten()
        index = flat.nonzero().squeeze(1)
        if sparse and not len(index):
            continue
        if sparse and 8 * len(index) + _ENTRY + len(key) < 4 * len(flat):
            packed[f"{key}.index"], packed[f"{key}.value"] = index.to(torch.int32), flat[index]
        else:
            packed[key] = whole
    return save(packed, None if tell_shapes(packed, shapes) else {"form": form_of(shapes)})


def may_be(shapes: Shapes, stored: int) -> bool:
    """Whether so few numbers may stand for maps of these shapes: a small file shall not take all memory."""
    return 2 * pairs_of(shapes) <= _ZEROS + _ZEROS_EACH * stored


def tell_shapes(keys: Iterable[str], shapes: Shapes) -> bool:
    """Whether each module has a tensor, stored dense, whose shape says the module's own."""
    modules = {(len(parts_of(shape)) == len(PARTS), name) for name, shape in shapes.items()}
    return modules <= {(part in LOW_RANK, name) for name, _, part in (k.rpartition(".") for k in keys) if part in PARTS}


def form_of(shapes: Shapes) -> str:
    """A print of the shapes of all modules."""
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:6]


def _checked_name(name: Any, place: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
        raise LineaError(
            f"got a module named {short(name)} in {place}: expected a dotted name such as unet.mid_block.attentions.0 "
            "or unet.block:1"
        )
    return name


def _checked_shape(name: str, shape: Any, place: str, axes: tuple[int, ...]) -> list[int]:
    dimensions = shape if axes else [shape]
    fits = isinstance(dimensions, list) and len(dimensions) in (axes or (1,))
    if not fits or not all(type(size) is int and 0 < size <= LARGEST for size in dimensions):
        forms = " or ".join(("[d]", "[bins, d]", "[bins, d, rank]")[count - 1] for count in axes)
        expected = f"{forms}, whole numbers above 0" if axes else "a whole number above 0"
        raise LineaError(
            f"got {short(shape)} as the dimensions of {name!r} in {place}: expected {expected} and at most {LARGEST}"
        )
    return dimensions


def check_finite(value: torch.Tensor, key: str, place: str) -> None:
    """Raise if some number of a tensor is not finite.

    Raises:
        LineaError: it is NaN or infinite.
    """
    if not bool(value.isfinite().all()):
        raise LineaError(f"got NaN or infinity in {key!r} of {place}: expected finite numbers; train again")
