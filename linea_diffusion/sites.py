"""One steered activation: several maps and strengths folded into one scale and one shift per row."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from .activations import feature_axis
from .affine import AffineMap, transform
from .errors import LineaError
from .guidance import Guidance
from .modules import is_text_encoder
from .schedule import Progress

Composition = Literal["sum", "chain"]
Part = tuple[AffineMap, torch.Tensor]
Move = tuple[torch.Tensor, torch.Tensor]


class Site:
    """An activation that is steered, with what is done to it worked out before the call.

    The numbers change between calls of the denoiser, never within, and they are tensors: code that torch.compile made
    of the model stays valid whatever the strength.

    Attributes:
        name: of the activation.
        component: of the pipeline.
        acted: whether the activation was seen since the site was made.
        suspicious: whether an activation that is not finite is an error.
        factor: (1, d) or (rows, d), what the activation is multiplied with.
        shift: of the same shape, what is added.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        parts: list[Part],
        composition: Composition,
        images: int,
        progress: Progress,
        roles: Guidance,
        window: tuple[float, float],
    ) -> None:
        self.name, self.component = name, name.split(".", maxsplit=1)[0]
        self.module, self.parts, self.composition, self.images = module, parts, composition, images
        self.progress, self.roles, self.window = progress, roles, window
        self.features = parts[0][0].features
        self.acted = self.suspicious = False
        self._made: dict[tuple[int, ...] | None, Move] = {}
        self.prepare()

    def prepare(self) -> None:
        """Work out factor and shift for the present place in the schedule."""
        start, end = self.window
        fraction = self.progress.fraction
        on = start == 0 if is_text_encoder(self.component) else start <= fraction + 1e-9 < end
        key = tuple(affine.bin_at(fraction) for affine, _ in self.parts) if on else None
        if key not in self._made:
            self._made[key] = self._folded(fraction) if on else self._identity()
        self.factor, self.shift = self._made[key]

    def edit(self, z: torch.Tensor) -> torch.Tensor:
        """The steered activation; any float dtype, which is kept."""
        self.acted = True
        axis = self.axis_of(z)
        if self.shift.device != z.device:
            self.factor, self.shift = self.factor.to(z.device), self.shift.to(z.device)
        factor, shift = self.of_batch(self.factor, len(z)), self.of_batch(self.shift, len(z))
        if self.roles.on:
            keep = self.roles.conditional(self.component, len(z), z.device)
            factor, shift = torch.where(keep, factor, 1.0), torch.where(keep, shift, 0.0)
        moved = transform(z, factor, shift, axis=axis)
        if self.suspicious:
            self._refuse_overflow(z, "before")
            self._refuse_overflow(moved, "at")
        return moved

    def _refuse_overflow(self, z: torch.Tensor, where: str) -> None:
        if not bool(z.isfinite().all()):
            raise LineaError(
                f"got numbers that are not finite {where} {self.name!r} in denoising step {self.progress.index + 1} "
                f"({z.dtype} holds up to {torch.finfo(z.dtype).max:.3g}): expected finite ones; lower the strength, or "
                "run the model in bfloat16 or float32"
            )

    def axis_of(self, z: torch.Tensor) -> int:
        """Where the features are.

        Raises:
            LineaError: another number of them than the maps have.
        """
        axis = feature_axis(self.module, z)
        if z.shape[axis] != self.features:
            raise LineaError(
                f"got maps with {self.features} features for {self.name!r} whose activation has {z.shape[axis]}: "
                "load maps that were trained on this base model"
            )
        return axis

    def of_batch(self, numbers: torch.Tensor, batch: int) -> torch.Tensor:
        """Numbers of prompts, (1, d) or (prompts, d), for the rows of a batch.

        Text encoders see the prompts; the denoiser sees each prompt's images side by side, and with classifier-free
        guidance that whole block twice.

        Raises:
            LineaError: the batch holds no whole number of such blocks.
        """
        prompts = len(numbers)
        if prompts in (1, batch):
            return numbers
        if batch % (prompts * self.images):
            raise LineaError(
                f"got {prompts} strengths and a batch of {batch} at {self.name!r}: expected one strength per prompt"
            )
        return numbers.repeat_interleave(self.images, dim=0).repeat(batch // (prompts * self.images), 1)

    def _folded(self, fraction: float) -> Move:
        scale, shift = _composed([affine.at(s, fraction=fraction) for affine, s in self.parts], self.composition)
        return (1 + scale).detach(), shift.detach()

    def _identity(self) -> Move:
        shift = self.parts[0][0].shift
        return shift.new_ones(1, self.features), shift.new_zeros(1, self.features)


class TrainedSite(Site):
    """A site whose maps are being trained: worked out anew for every activation, so that gradients reach the maps."""

    def prepare(self) -> None:
        """Nothing is prepared."""

    def edit(self, z: torch.Tensor) -> torch.Tensor:
        """The steered activation, with gradients."""
        factor, shift = self._with_gradients()
        return transform(z, self.of_batch(factor, len(z)), self.of_batch(shift, len(z)), axis=self.axis_of(z))

    def _with_gradients(self) -> Move:
        moves = [affine.at(s, fraction=self.progress.fraction) for affine, s in self.parts]
        scale, shift = _composed(moves, self.composition)
        return 1 + scale, shift


def _composed(moves: list[Move], composition: Composition) -> Move:
    """One (scale_offset, shift) for several, (1, d) or (n, d) each."""
    scale, shift = moves[0]
    for scale_next, shift_next in moves[1:]:
        if composition == "chain":
            shift = shift + scale_next * shift
            scale = scale + scale_next * scale
        scale, shift = scale + scale_next, shift + shift_next
    return scale, shift
