"""One coordinate-wise affine map, and its algebra."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from .errors import LineaError
from .move import Move

PARTS = {"scale_offset": "w-1", "shift": "b"}
"""The names of a map's numbers, in the order in which they are stored, and what they are in the formula."""
_SHAPED = "shift"


class AffineMap(nn.Module):
    """One coordinate-wise affine map T(z) = w*z + b on activations with d features.

    Stored as ``scale_offset`` = w - 1 and ``shift`` = b, float32, so that a fresh map is the identity and
    small changes survive half precision. At strength s it acts as T_s(z) = z + s*((w-1)*z + b)
    (arXiv 2503.10679, section 3). With several step bins there is one such map for each equal part of the
    denoising schedule, whatever its number of steps.

    Args:
        features: d.
        bins: parts of the schedule with a map of their own; 1 shares one map between all steps.

    Attributes:
        scale_offset: (d,), or (bins, d) with several bins.
        shift: of the same shape.
    """

    def __init__(self, features: int, bins: int = 1) -> None:
        super().__init__()
        shape = (features,) if bins == 1 else (bins, features)
        self.scale_offset = nn.Parameter(torch.zeros(shape))
        self.shift = nn.Parameter(torch.zeros(shape))

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
            tensors: (d,) or (bins, d) each.
        """
        shape = tensors[_SHAPED].shape
        affine = cls(shape[-1], shape[0] if len(shape) == 2 else 1).to(tensors[_SHAPED].device)
        for name, parameter in affine.tensors().items():
            parameter.data.copy_(tensors[name])
        return affine.requires_grad_(False)

    def tensors(self) -> dict[str, nn.Parameter]:
        """All numbers of the map by the names of `PARTS`: what is trained, stored, counted and compared."""
        return {name: getattr(self, name) for name in PARTS}

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,), or (bins, d) with several bins."""
        return tuple(self.shift.shape)

    @property
    def support(self) -> float:
        """Share of the numbers that are not exactly zero, [0, 1]."""
        numbers = self.tensors().values()
        return sum(int(one.count_nonzero()) for one in numbers) / sum(one.numel() for one in numbers)

    @property
    def is_identity(self) -> bool:
        """Whether every number of the map is exactly zero."""
        return not any(bool(one.any()) for one in self.tensors().values())

    @property
    def is_trained(self) -> bool:
        """Whether gradients reach the numbers."""
        return any(one.requires_grad for one in self.tensors().values())

    def bin_at(self, fraction: float) -> int:
        """The step bin in force when `fraction` of the denoising schedule, [0, 1), is done."""
        return min(int(fraction * self.bins + 1e-9), self.bins - 1)

    def move(self, strength: float | torch.Tensor = 1.0, *, fraction: float = 0.0) -> Move:
        """What the map does at a strength, in one step bin: z -> z + s*((w-1)*z + b), with gradients.

        Args:
            strength: a number or (), or (n,) one per sample.
            fraction: how much of the denoising schedule is done, [0, 1): chooses the bin.
        """
        row = self.bin_at(fraction)
        amount = torch.as_tensor(strength, device=self.shift.device).reshape(-1, 1)
        scale_offset, shift = (numbers.reshape(-1, self.features)[row] for numbers in (self.scale_offset, self.shift))
        return Move(1 + amount * scale_offset, amount * shift)

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
        """The map that undoes this one at strength 1: scale 1/w, shift -b/w.

        Raises:
            LineaError: some |w| is below 1e-4, where undoing would blow rounding up.
        """
        w = 1 + self.scale_offset.detach()
        smallest = w.abs().min().item()
        if smallest < 1e-4:
            raise LineaError(
                f"got a map with a scale of {smallest:.1e}, which cannot be undone: expected all |w| >= 1e-4; "
                "a negative strength needs no inverse"
            )
        return affine_map(1 / w - 1, -self.shift.detach() / w)

    def then(self, other: AffineMap) -> AffineMap:
        """This map first, `other` after it, as one map: scale w2*w1, shift w2*b1 + b2."""
        (scale1, shift1), (scale2, shift2) = _aligned(self, other)
        return affine_map(scale1 + scale2 + scale1 * scale2, shift2 + (1 + scale2) * shift1)

    def plus(self, other: AffineMap) -> AffineMap:
        """The map whose move is the sum of both moves: offsets and shifts add up."""
        a, b = _aligned(self, other)
        return affine_map(a[0] + b[0], a[1] + b[1])

    def times(self, factor: float) -> AffineMap:
        """The map whose move is `factor` times this one's: at strength 1 what this one is at strength `factor`."""
        return affine_map(factor * self.scale_offset.detach(), factor * self.shift.detach())


def affine_map(scale_offset: torch.Tensor, shift: torch.Tensor) -> AffineMap:
    """A map from its numbers, (d,) or (bins, d) each; float32 copies, not to be trained."""
    if shift.ndim == 2 and len(shift) == 1:  # one bin is stored without its axis
        scale_offset, shift = scale_offset[0], shift[0]
    return AffineMap.of(dict(zip(PARTS, (scale_offset, shift), strict=True)))


def _aligned(first: AffineMap, second: AffineMap) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(scale_offset, shift) of both with the same bins: a shared map is the same in each, 2 bins are 4 twice over."""
    if first.features != second.features:
        raise LineaError(f"got maps with {first.features} and {second.features} features: expected one base model's")
    bins = math.lcm(first.bins, second.bins)

    def widened(numbers: torch.Tensor, present: int) -> torch.Tensor:
        if bins == 1:
            return numbers.detach()
        return numbers.detach().reshape(present, -1).repeat_interleave(bins // present, dim=0)

    return [(widened(m.scale_offset, m.bins), widened(m.shift, m.bins)) for m in (first, second)]
