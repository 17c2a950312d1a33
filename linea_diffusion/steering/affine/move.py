"""What one or several maps do to an activation at given strengths, and what that is in the layer which makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.amp.autocast_mode import is_autocast_available


@dataclass(frozen=True, eq=False)
class Move:
    """z -> factor*z + up down^T z + shift, float32, the same for all rows of a batch or one for each.

    Attributes:
        factor: (1, d) or (n, d).
        shift: (n, d), or (1, d) for all rows.
        up: (1, d, r) or (n, d, r); r is 0 where the move is coordinate-wise.
        down: likewise.
    """

    factor: torch.Tensor
    shift: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor

    @classmethod
    def identity(cls, features: int, device: torch.device) -> Move:
        """The move that leaves every activation as it is."""
        return cls.of(torch.ones(1, features, device=device), torch.zeros(1, features, device=device))

    @classmethod
    def of(cls, factor: torch.Tensor, shift: torch.Tensor) -> Move:
        """A coordinate-wise move."""
        none = shift.new_zeros(1, shift.shape[-1], 0)
        return cls(factor, shift, none, none)

    def __len__(self) -> int:
        """For how many rows it is."""
        return len(self.shift)

    @property
    def features(self) -> int:
        """d."""
        return self.shift.shape[-1]

    @property
    def rank(self) -> int:
        """r."""
        return self.up.shape[-1]

    @property
    def device(self) -> torch.device:
        """Where its numbers are."""
        return self.shift.device

    @property
    def shifts(self) -> bool:
        """Whether anything is added."""
        return bool(self.shift.any())

    def to(self, device: torch.device) -> Move:
        """The same move elsewhere."""
        return Move(*(part.to(device) for part in self._parts()))

    def detach(self) -> Move:
        """The same move without gradients."""
        return Move(*(part.detach() for part in self._parts()))

    def rows(self, owners: Sequence[int]) -> Move:
        """The move for a batch whose rows belong to these rows of this one."""
        indices = list(owners)
        return Move(*(part.expand(len(self), *part.shape[1:])[indices] for part in self._parts()))

    def only(self, kept: torch.Tensor) -> Move:
        """This move in some rows, and none in the others.

        Args:
            kept: (n,) or (1,) of bool.
        """
        column = kept.reshape(-1, 1)
        factor, shift = torch.where(column, self.factor, 1.0), torch.where(column, self.shift, 0.0)
        return Move(factor, shift, torch.where(column[..., None], self.up, 0.0), self.down)

    def then(self, other: Move) -> Move:
        """This move first, the other after it."""
        across = other.down.mT @ self.up
        moved = other.factor[..., None] * self.up + other.up @ across
        up, down = _beside((moved, other.up), (self.down, self.factor[..., None] * other.down))
        shift = other.factor * self.shift + other.shift + other.mixed(self.shift)
        return Move(other.factor * self.factor, shift, up, down)

    def plus(self, other: Move) -> Move:
        """Both moves of the unsteered activation at once: what they add to it adds up."""
        up, down = _beside((self.up, other.up), (self.down, other.down))
        return Move(self.factor + (other.factor - 1), self.shift + other.shift, up, down)

    def mixed(self, vectors: torch.Tensor) -> torch.Tensor:
        """U V^T of one vector for each row, (n, d)."""
        return (self.up @ (self.down.mT @ vectors[..., None])).squeeze(-1)

    def apply(self, z: torch.Tensor, *, axis: int = -1) -> torch.Tensor:
        """The moved activation; any float dtype, which is kept.

        Args:
            z: activations (n, ...) with d features at `axis`.
            axis: where the features are.
        """
        if not self.rank:
            return _transform(z, self.factor, self.shift, axis)
        if is_autocast(z.device):
            with torch.autocast(z.device.type, enabled=False):
                return self.apply(z, axis=axis)
        axis %= z.ndim
        if axis in (1, z.ndim - 1):
            return self._mixed_in(z, last=axis == z.ndim - 1)
        return self._mixed_in(z.movedim(axis, -1), last=True).movedim(-1, axis)

    def _mixed_in(self, z: torch.Tensor, *, last: bool) -> torch.Tensor:
        """As `apply`, with the features on the last axis or on axis 1, where they are: nothing is turned around."""
        wide = torch.promote_types(z.dtype, self.shift.dtype)
        flat = (z.reshape(len(z), -1, self.features) if last else z.flatten(2)).to(wide)
        along = -2 if last else -1
        moved = torch.addcmul(self.shift.unsqueeze(along), flat, self.factor.unsqueeze(along))
        up, down = self.up.to(wide), self.down.to(wide)
        # the low-rank part is added in place, to numbers that nobody else has
        if not last:
            moved = moved.baddbmm_(up.expand(len(z), -1, -1), down.mT @ flat)
        elif len(up) == len(down) == 1:
            moved = moved.flatten(0, 1).addmm_(flat.flatten(0, 1) @ down[0], up[0].mT)
        else:
            moved = moved.baddbmm_(flat @ down.squeeze(0), up.mT.expand(len(z), -1, -1))
        return moved.reshape(z.shape).to(z.dtype)

    def layer_change(
        self, weight: torch.Tensor | None, bias: torch.Tensor | None, *, axis: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What to add to a layer's weight and bias so that its output is moved, for a move of one row; float32.

        For an output W x + c it is (w-1)*W + U V^T W and (w-1)*c + U V^T c + b, which is linear in the strength; a
        normalisation's own weight and bias are the same with numbers in place of rows, and no low-rank part.

        Args:
            weight: of a linear layer, a convolution or a normalisation; None stands for ones.
            bias: likewise; None stands for zeros.
            axis: where both have their d features.
        """
        offset, shift = self.factor[0] - 1, self.shift[0]
        rows = offset if weight is None else _along(offset, weight, axis) * weight.float() + self._mixes(weight, axis)
        if bias is None:
            return rows, shift
        return rows, _along(offset, bias, axis) * bias.float() + self._mixes(bias, axis) + _along(shift, bias, axis)

    def _mixes(self, tensor: torch.Tensor, axis: int) -> torch.Tensor | float:
        """U V^T of a tensor with d features at `axis`."""
        if not self.rank:
            return 0.0
        columns = tensor.float().movedim(axis, 0)
        return (
            (self.up[0] @ (self.down[0].mT @ columns.reshape(len(columns), -1))).reshape(columns.shape).movedim(0, axis)
        )

    def _parts(self) -> tuple[torch.Tensor, ...]:
        return self.factor, self.shift, self.up, self.down


def is_autocast(device: torch.device) -> bool:
    """Whether products on a device are computed in half precision, whatever their dtype."""
    return is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def _beside(*pairs: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
    """Two low-rank halves as one, for `up` and for `down`: (n, d, r1) and (n, d, r2) -> (n, d, r1 + r2)."""
    joined = []
    for first, second in pairs:
        count = max(len(first), len(second))
        joined.append(torch.cat([part.expand(count, *part.shape[1:]) for part in (first, second)], dim=-1))
    return joined


def _along(numbers: torch.Tensor, like: torch.Tensor, axis: int) -> torch.Tensor:
    """Numbers (d,) in a shape that goes with a tensor that has d features at `axis`."""
    shape = [1] * like.ndim
    shape[axis] = len(numbers)
    return numbers.reshape(shape)


def _transform(z: torch.Tensor, factor: torch.Tensor, shift: torch.Tensor, axis: int) -> torch.Tensor:
    """factor*z + shift, worked out in float32 in one pass over z; the dtype is kept."""
    shape = [len(shift), *(1,) * (z.ndim - 1)]
    shape[axis] = shift.shape[1]
    if z.dtype == torch.float32 or torch.is_grad_enabled():
        # the product of float32 and half precision is float32, and what autograd keeps of z stays half precision
        return torch.addcmul(shift.reshape(shape), z, factor.reshape(shape)).to(z.dtype)
    # one kernel that reads and writes half precision, and computes in float32 in between
    return torch.addcmul(shift.reshape(shape), z, factor.reshape(shape), out=torch.empty_like(z))
