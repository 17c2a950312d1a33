"""One affine map of an activation, coordinate-wise with a low-rank part, and its algebra."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from ...errors import LineaError
from .low_rank import live_ranks, merged, trimmed, undone
from .move import Move

PARTS = {"scale_offset": "w-1", "shift": "b", "up": "U", "down": "V"}
"""The names of a map's numbers, in the order in which they are stored, and what they are in the formula."""
LOW_RANK = ("up", "down")
_SHAPED = "shift"


class AffineMap(nn.Module):
    """One affine map T(z) = w*z + U V^T z + b on activations with d features: w and b coordinate by coordinate.

    Stored as ``scale_offset`` = w - 1, ``shift`` = b, ``up`` = U and ``down`` = V, float32, so that a fresh map is the
    identity and small changes survive half precision. At strength s it acts as
    T_s(z) = z + s*((w-1)*z + U V^T z + b); without U and V that is the map of arXiv 2503.10679, section 3. With several
    step bins there is one such map for each equal part of the denoising schedule, whatever its number of steps.

    Args:
        features: d.
        bins: parts of the schedule with a map of their own; 1 shares one map between all steps.
        rank: r, the columns of U and V; 0 leaves them out.

    Attributes:
        scale_offset: (d,), or (bins, d) with several bins.
        shift: of the same shape.
        up: (d, r), or (bins, d, r).
        down: of the same shape.
    """

    def __init__(self, features: int, bins: int = 1, rank: int = 0) -> None:
        super().__init__()
        shape = (features,) if bins == 1 else (bins, features)
        self.scale_offset = nn.Parameter(torch.zeros(shape))
        self.shift = nn.Parameter(torch.zeros(shape))
        if rank:
            self.up = nn.Parameter(torch.zeros(*shape, rank))
            self.down = nn.Parameter(torch.zeros(*shape, rank))
        self.rank = rank

    @property
    def features(self) -> int:
        """d."""
        return self.shift.shape[-1]

    @property
    def bins(self) -> int:
        """Parts of the schedule with a map of their own."""
        return self.shift.shape[0] if self.shift.ndim == 2 else 1

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> AffineMap:
        """The inverse of `tensors`; float32 copies, not to be trained.

        Args:
            tensors: (d,) or (bins, d) each, and with one axis more for U and V, which may be left out.
        """
        shape = tensors[_SHAPED].shape
        rank = tensors[LOW_RANK[0]].shape[-1] if LOW_RANK[0] in tensors else 0
        affine = cls(shape[-1], shape[0] if len(shape) == 2 else 1, rank).to(tensors[_SHAPED].device)
        for name, parameter in affine.tensors().items():
            parameter.data.copy_(tensors[name].reshape(parameter.shape))
        return affine.requires_grad_(False)

    def tensors(self) -> dict[str, nn.Parameter]:
        """All numbers of the map by the names of `PARTS`: what is trained, stored, counted and compared."""
        return {name: getattr(self, name) for name in PARTS if self.rank or name not in LOW_RANK}

    @torch.no_grad()
    def begin(self, u: torch.Tensor, v: torch.Tensor, b: torch.Tensor) -> None:
        """Set U and V, (d, r), and b, (d,) or (bins, d), in place, the same for all bins; w stays."""
        for part, value in zip((self.up, self.down, self.shift), (u, v, b), strict=True):
            part.copy_(value)

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,), or (bins, d) with several bins; with a low-rank part (bins, d, r)."""
        return (self.bins, self.features, self.rank) if self.rank else tuple(self.shift.shape)

    @property
    def stored(self) -> int:
        """How many numbers are not exactly zero: what a file of them holds."""
        return sum(int(one.count_nonzero()) for one in self.tensors().values())

    @property
    def support(self) -> float:
        """Share of the numbers that are not exactly zero, [0, 1]."""
        return self.stored / sum(one.numel() for one in self.tensors().values())

    @property
    def is_identity(self) -> bool:
        """Whether the map leaves every activation exactly as it is."""
        mixes = self.rank and bool(live_ranks(self.up, self.down).any())
        return not (mixes or bool(self.scale_offset.any()) or bool(self.shift.any()))

    @property
    def is_trained(self) -> bool:
        """Whether gradients reach the numbers."""
        return any(one.requires_grad for one in self.tensors().values())

    @torch.no_grad()
    def learn(self, *, scale: bool, shift: bool, draw: torch.Generator) -> None:
        """Choose what is trained of a fresh map, and draw V, so that U gets gradients: its columns are about 1 long.

        Args:
            scale: whether w is.
            shift: whether b is.
            draw: what V is drawn from.
        """
        self.scale_offset.requires_grad_(scale)
        self.shift.requires_grad_(shift)
        if self.rank:
            self.down.copy_(torch.randn(self.down.shape, generator=draw) / self.features**0.5)

    def bin_at(self, fraction: float) -> int:
        """The step bin in force when `fraction` of the denoising schedule, [0, 1), is done."""
        return min(int(fraction * self.bins + 1e-9), self.bins - 1)

    def move(self, strength: float | torch.Tensor = 1.0, *, fraction: float = 0.0) -> Move:
        """What the map does at a strength, in one step bin, with gradients.

        Args:
            strength: a number or (), or (n,) one per sample.
            fraction: how much of the denoising schedule is done, [0, 1): chooses the bin.
        """
        row = self.bin_at(fraction)
        strength = torch.as_tensor(strength, device=self.shift.device).reshape(-1, 1)
        scale_offset, shift, up, down = (part[row] for part in self.parts())
        return Move(1 + strength * scale_offset, strength * shift, strength[..., None] * up, down[None])

    def parts(self) -> list[torch.Tensor]:
        """w - 1, b (bins, d) and U, V (bins, d, r), where r may be 0."""
        low = [part.reshape(self.bins, self.features, self.rank) for part in (self.up, self.down)] if self.rank else []
        none = self.shift.new_zeros(self.bins, self.features, 0)
        flat = [part.reshape(self.bins, self.features) for part in (self.scale_offset, self.shift)]
        return [*flat, *(low or [none, none])]

    def _wide(self, bins: int) -> Move:
        """The moves of so many bins as rows of one, float64, so that what cancels leaves exact zeros."""
        times = bins // self.bins
        wide = [part.detach().double().repeat_interleave(times, dim=0) for part in self.parts()]
        return Move(1 + wide[0], *wide[1:])

    def forward(
        self, z: torch.Tensor, strength: float | torch.Tensor = 1.0, *, axis: int = -1, fraction: float = 0.0
    ) -> torch.Tensor:
        """Map activations; any float dtype, which is kept.

        Args:
            z: activations, (n, ..., d) or with d at `axis`.
            strength: a number, or (n,) one per sample.
            axis: where the d features are.
            fraction: how much of the denoising schedule is done, [0, 1).
        """
        return self.move(strength, fraction=fraction).apply(z, axis=axis)

    def inverse(self) -> AffineMap:
        """The map that undoes this one at strength 1, worked out in float64.

        Coordinate-wise it has the scale 1/w and the shift -b/w; for the low-rank part see `low_rank.undone`.

        Raises:
            LineaError: a scale, or a low-rank part, that is too near to where nothing undoes it.
        """
        move = self._wide(self.bins)
        up, down = undone(move.factor, move.up, move.down)
        back = Move(1 / move.factor, move.shift, up, down)
        return map_of(replace(back, shift=-back.factor * move.shift - back.mixed(move.shift)))

    def trimmed(self) -> AffineMap:
        """This map without ranks that do nothing, and with zeros where one does nothing in some bin; a copy."""
        scale_offset, shift, up, down = (part.detach() for part in self.parts())
        return _of_parts([scale_offset, shift, *trimmed(up, down)])

    def then(self, other: AffineMap) -> AffineMap:
        """This map first, `other` after it, as one map: scale w2*w1, shift w2*b1 + b2, and ranks add up."""
        return _joined(self, other, Move.then)

    def plus(self, other: AffineMap) -> AffineMap:
        """The map whose move is the sum of both moves: offsets and shifts add up, U and V stand side by side."""
        return _joined(self, other, Move.plus)

    def times(self, factor: float) -> AffineMap:
        """The map whose move is `factor` times this one's: at strength 1 what this one is at strength `factor`."""
        scaled = {
            name: part.detach() * (1.0 if name == LOW_RANK[1] else factor) for name, part in self.tensors().items()
        }
        return AffineMap.of(scaled)


def acts(affine: AffineMap) -> bool:
    """Whether activations must be given to a map: it is in training, or not exactly the identity."""
    return affine.is_trained or not affine.is_identity


def affine_map(scale_offset: torch.Tensor, shift: torch.Tensor) -> AffineMap:
    """A coordinate-wise map from its numbers, (d,) or (bins, d) each; float32 copies, not to be trained."""
    return AffineMap.of({"scale_offset": scale_offset, "shift": shift})


def _of_parts(parts: Sequence[torch.Tensor]) -> AffineMap:
    """A map from w - 1, b (bins, d) and U, V (bins, d, r)."""
    numbers = {name: part[0] if len(part) == 1 else part for name, part in zip(PARTS, parts, strict=True)}
    return AffineMap.of({name: part for name, part in numbers.items() if part.shape[-1]})


def map_of(move: Move) -> AffineMap:
    """A map from a move with a row for each bin, float64, with no more ranks than it needs to."""
    return _of_parts([move.factor - 1, move.shift, *trimmed(*merged(move.up, move.down))])


def _joined(first: AffineMap, second: AffineMap, join: Callable[[Move, Move], Move]) -> AffineMap:
    """One map for two, bin by bin: a shared map is the same in each bin, 2 bins are 4 twice over."""
    if first.features != second.features:
        raise LineaError(f"got maps with {first.features} and {second.features} features: expected one base model's")
    bins = math.lcm(first.bins, second.bins)
    return map_of(join(first._wide(bins), second._wide(bins)))
