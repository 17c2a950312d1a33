"""The memory of a call, counted: what is alive at once on the meta device, where nothing is computed.

A count and no measurement: workspaces of kernels and fragmentation of the allocator come on top. Attention has no
matrices, as in all kernels that PyTorch takes on a GPU.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..calling import without_bar

ROOM = 0.9
"""Share of the memory that counted batches may fill."""


@dataclass(frozen=True)
class CallMemory:
    """What calls need, in bytes.

    Attributes:
        weights: of all models.
        fixed: beyond them, whatever the number of pictures.
        picture: more for each picture of a batch.
    """

    weights: int
    fixed: int
    picture: int

    def of(self, pictures: int) -> int:
        """A call of so many pictures, with the weights."""
        return self.weights + self.fixed + pictures * self.picture

    def largest(self, memory: float) -> int:
        """The most pictures at once for which `ROOM` of so many bytes suffices; 0 where one does not fit."""
        return max(0, int((ROOM * memory - self.weights - self.fixed) // self.picture))


def call_memory(pipe: Any, **arguments: Any) -> CallMemory:
    """What calls of a pipeline need, from text to picture: those of one and of two pictures are counted.

    Args:
        pipe: a pipeline on the meta device, such as `shapes_of` makes.
        **arguments: of its calls, such as height and width.
    """
    weights = sum(_bytes(one) for model in models_of(pipe).values() for one in (*model.parameters(), *model.buffers()))
    one, two = (_peak(pipe, pictures, arguments) for pictures in (1, 2))
    return CallMemory(weights, max(0, 2 * one - two), max(1, two - one))


def models_of(pipe: Any) -> dict[str, nn.Module]:
    """A pipeline's models, by component."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


def _peak(pipe: Any, pictures: int, arguments: dict[str, Any]) -> int:
    steady = patch.object(nn.functional, "scaled_dot_product_attention", _attention)
    with without_bar(pipe), steady, _Alive() as alive:
        pipe(prompt=["a picture"] * pictures, **{"output_type": "pt", **arguments})
    return alive.peak


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return query.new_empty(*query.shape[:-1], value.shape[-1])


class _Alive(TorchDispatchMode):
    """Counts the bytes of tensors that are made within it, while they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, int] = {}
        self._now = self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        old = {_key(one) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and _key(tensor) not in self._sizes and _key(tensor) not in old:
                self._count(tensor)
        return made

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self._sizes[storage._cdata] = storage.nbytes()
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, key: int) -> None:
        self._now -= self._sizes.pop(key)


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
