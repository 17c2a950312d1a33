"""What one or several maps do to an activation at given strengths, and what that is in the layer which makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Move:
    """z -> factor*z + shift, float32, the same for all rows of a batch or one for each.

    Attributes:
        factor: (1, d) or (n, d).
        shift: of the same shape.
    """

    factor: torch.Tensor
    shift: torch.Tensor

    @classmethod
    def identity(cls, features: int, device: torch.device) -> Move:
        """The move that leaves every activation as it is."""
        return cls(torch.ones(1, features, device=device), torch.zeros(1, features, device=device))

    def __len__(self) -> int:
        """For how many rows it is."""
        return len(self.shift)

    @property
    def features(self) -> int:
        """d."""
        return self.shift.shape[-1]

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
        return Move(self.factor.to(device), self.shift.to(device))

    def detach(self) -> Move:
        """The same move without gradients."""
        return Move(self.factor.detach(), self.shift.detach())

    def rows(self, owners: Sequence[int]) -> Move:
        """The move for a batch whose rows belong to these rows of this one."""
        chosen = list(owners)
        return Move(self.factor.expand(len(self), -1)[chosen], self.shift[chosen])

    def only(self, kept: torch.Tensor) -> Move:
        """This move in some rows, and none in the others.

        Args:
            kept: (n,) or (1,) of bool.
        """
        column = kept.reshape(-1, 1)
        return Move(torch.where(column, self.factor, 1.0), torch.where(column, self.shift, 0.0))

    def then(self, other: Move) -> Move:
        """This move first, the other after it."""
        return Move(other.factor * self.factor, other.factor * self.shift + other.shift)

    def plus(self, other: Move) -> Move:
        """Both moves of the unsteered activation at once: what they add to it adds up."""
        return Move(self.factor + (other.factor - 1), self.shift + other.shift)

    def apply(self, z: torch.Tensor, *, axis: int = -1) -> torch.Tensor:
        """The moved activation; any float dtype, which is kept.

        Args:
            z: activations (n, ...) with d features at `axis`.
            axis: where the features are.
        """
        return transform(z, self.factor, self.shift, axis=axis)

    def layer_change(
        self, weight: torch.Tensor | None, bias: torch.Tensor | None, *, axis: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What to add to a layer's weight and bias so that its output is moved, for a move of one row; float32.

        For an output W x + c it is (w-1)*W and (w-1)*c + b, row by row, which is linear in the strength; a
        normalisation's own weight and bias are the same with numbers in place of rows.

        Args:
            weight: of a linear layer, a convolution or a normalisation; None stands for ones.
            bias: likewise; None stands for zeros.
            axis: where both have their d features.
        """
        offset, shift = self.factor[0] - 1, self.shift[0]
        rows = offset if weight is None else _along(offset, weight, axis) * weight.float()
        return rows, shift if bias is None else _along(offset, bias, axis) * bias.float() + _along(shift, bias, axis)


def _along(numbers: torch.Tensor, like: torch.Tensor, axis: int) -> torch.Tensor:
    """Numbers (d,) in a shape that goes with a tensor that has d features at `axis`."""
    shape = [1] * like.ndim
    shape[axis] = len(numbers)
    return numbers.reshape(shape)


def transform(z: torch.Tensor, factor: torch.Tensor, shift: torch.Tensor, *, axis: int = -1) -> torch.Tensor:
    """factor*z + shift, worked out in float32 in one pass over z; the dtype is kept.

    Args:
        z: activations (n, ...) with d features at `axis`.
        factor: (1, d) or (n, d).
        shift: of the same shape.
        axis: where the features are.
    """
    shape = [len(shift), *(1,) * (z.ndim - 1)]
    shape[axis] = shift.shape[1]
    if z.dtype == torch.float32 or torch.is_grad_enabled():
        # the product of float32 and half precision is float32, and what autograd keeps of z stays half precision
        return torch.addcmul(shift.reshape(shape), z, factor.reshape(shape)).to(z.dtype)
    # one kernel that reads and writes half precision, and computes in float32 in between
    return torch.addcmul(shift.reshape(shape), z, factor.reshape(shape), out=torch.empty_like(z))
