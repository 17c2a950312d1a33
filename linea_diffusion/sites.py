"""One steered activation: several maps and strengths folded into one scale and one shift per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from .activations import axis_of, features_at
from .affine import AffineMap, transform
from .batch_rows import BatchRows
from .errors import LineaError
from .modules import is_text_encoder
from .schedule import Progress

Composition = Literal["sum", "chain"]
Part = tuple[AffineMap, torch.Tensor]
Move = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Trail:
    """A run in which the first number that is not finite is looked for.

    Attributes:
        progress: where in its schedule the run is.
        last: the activation that was finite last.
    """

    progress: Progress
    last: str = "the start"

    def meet(self, name: str, z: torch.Tensor, moved: torch.Tensor) -> None:
        """An activation comes by, before and after its map.

        Raises:
            LineaError: a number that is not finite.
        """
        self._refuse(z, f"between {self.last} and {name!r}")
        self._refuse(moved, f"at {name!r}")
        self.last = repr(name)

    def _refuse(self, z: torch.Tensor, where: str) -> None:
        if not bool(z.isfinite().all()):
            raise LineaError(
                f"got numbers that are not finite {where}, in denoising step {self.progress.index + 1} ({z.dtype} "
                f"holds up to {torch.finfo(z.dtype).max:.3g}): expected finite ones; lower the strength, or "
                "run the model in bfloat16 or float32"
            )


class Site:
    """An activation that is steered, with what is done to it worked out before the call.

    The numbers change between calls of the denoiser, never within, and they are tensors: code that torch.compile made
    of the model stays valid whatever the strength.

    Attributes:
        name: of the activation.
        component: of the pipeline.
        on: whether the site's part of the schedule is running.
        due: whether something that contains the module ran while the site was on.
        acted: whether the activation was seen since the site went on or off.
        trail: the run, while numbers that are not finite are looked for.
        factor: (1, d) or (rows, d), what the activation is multiplied with.
        shift: of the same shape, what is added.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        parts: list[Part],
        composition: Composition,
        progress: Progress,
        rows: BatchRows,
        window: tuple[float, float],
    ) -> None:
        self.name, self.component = name, name.split(".", maxsplit=1)[0]
        self.module, self.parts, self.composition = module, parts, composition
        self.progress, self.rows, self.window = progress, rows, window
        self.features, self._features_at = parts[0][0].features, features_at(module)
        self.on = self.due = self.acted = self._has_worked = False
        self.trail = None  # type: Trail | None
        self.counts_turns, self._turn = is_text_encoder(self.component), 0
        self._dealt: dict[tuple[object, ...], Move] = {}
        self._made: dict[tuple[int, ...] | None, Move] = {}
        self.prepare()

    def prepare(self) -> None:
        """Work out factor and shift for the present place in the schedule."""
        start, end = self.window
        fraction = self.progress.fraction
        on = start == 0 if is_text_encoder(self.component) else start <= fraction + 1e-9 < end
        if on != self.on:
            self._has_worked, self.acted, self.on = self.has_worked, False, on
        key = tuple(affine.bin_at(fraction) for affine, _ in self.parts) if on else None
        self._key = key
        if key not in self._made:
            self._made[key] = self._folded(fraction) if on else self._identity()
        self.factor, self.shift = self._made[key]

    @property
    def has_worked(self) -> bool:
        """Whether the activation was seen while the site was on: it was steered."""
        return self._has_worked or (self.on and self.acted)

    def edit(self, z: torch.Tensor) -> torch.Tensor:
        """The steered activation; any float dtype, which is kept."""
        self.acted = True
        axis = self.axis_of(z)
        if self.shift.device != z.device:
            self.factor, self.shift = self.factor.to(z.device), self.shift.to(z.device)
        factor, shift = self._for_rows(len(z), z.device)
        if self.counts_turns:
            self._turn += 1
        moved = transform(z, factor, shift, axis=axis)
        if self.trail is not None:
            self.trail.meet(self.name, z, moved)
        return moved

    def axis_of(self, z: torch.Tensor) -> int:
        """Where the features are.

        Raises:
            LineaError: another number of them than the maps have.
        """
        axis = axis_of(self._features_at, z)
        if z.shape[axis] != self.features:
            raise LineaError(
                f"got maps with {self.features} features for {self.name!r} whose activation has {z.shape[axis]}: "
                "load maps that were trained on this base model"
            )
        return axis

    def _for_rows(self, batch: int, device: torch.device) -> Move:
        """Factor and shift for the rows of a batch, kept for the next time."""
        prompts = len(self.factor)
        owners = None if prompts == 1 else tuple(self._owners(batch, prompts))
        kept = self.rows.conditional(self.name, self.component, batch) if self.rows.only_conditional else []
        if owners is None and all(kept):
            return self.factor, self.shift
        key = (self._key, owners, tuple(kept))
        if key not in self._dealt:
            factor, shift = (one if owners is None else one[list(owners)] for one in (self.factor, self.shift))
            keep = torch.tensor(kept or [True], device=device).reshape(-1, 1)
            self._dealt[key] = torch.where(keep, factor, 1.0), torch.where(keep, shift, 0.0)
        return self._dealt[key]

    def _owners(self, batch: int, prompts: int) -> list[int]:
        return self.rows.owners(self.name, self.component, batch, self._turn, prompts)

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
        if len(shift) > 1:
            owners = self._owners(len(z), len(shift))
            factor, shift = factor.expand(len(shift), -1)[owners], shift[owners]
        return transform(z, factor, shift, axis=self.axis_of(z))

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
