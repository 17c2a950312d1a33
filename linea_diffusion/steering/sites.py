"""One steered activation: several maps and strengths folded into one scale and one shift per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch
from torch import nn

from ..errors import LineaError
from .activations import axis_of, features_at, split_address
from .addresses import is_text_encoder
from .affine.affine_map import AffineMap
from .affine.move import Move
from .rows import BatchRows
from .schedule import Progress

Composition = Literal["sum", "chain"]
Part = tuple[AffineMap, torch.Tensor]


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
        entry: number of the activation in its module's output.
        features: d of its maps.
        rank: of its maps, 0 where all are coordinate-wise.
        alike: whether one strength steers all rows, whatever the place in the schedule.
        on: whether the site's part of the schedule is running.
        due: whether something that contains the module ran while the site was on.
        acted: whether the activation was seen since the site went on or off.
        trail: the run, while numbers that are not finite are looked for.
        move: what is done to the activation now, for all rows alike or for each prompt.
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
        self.entry, self.features = split_address(name)[1], parts[0][0].features
        self.rank = max(affine.rank for affine, _ in parts)
        self.alike = all(strengths.numel() == 1 for _, strengths in parts) and not rows.only_conditional
        self._features_at = features_at(module)
        self.on = self.due = self.acted = self._has_worked = False
        self.trail = None  # type: Trail | None
        self.counts_turns, self._turn = is_text_encoder(self.component), 0
        self._dealt: dict[tuple[object, ...], Move] = {}
        self._made: dict[tuple[int, ...] | None, Move] = {}
        self.prepare()

    def prepare(self) -> None:
        """Work out the move for the present place in the schedule."""
        start, end = self.window
        fraction = self.progress.fraction
        on = start == 0 if is_text_encoder(self.component) else start <= fraction + 1e-9 < end
        if on != self.on:
            self._has_worked, self.acted, self.on = self.has_worked, False, on
        key = tuple(affine.bin_at(fraction) for affine, _ in self.parts) if on else None
        self._key = key
        if key not in self._made:
            self._made[key] = self._folded(fraction) if on else self._identity()
        self.move = self._made[key]

    @property
    def has_worked(self) -> bool:
        """Whether the activation was seen while the site was on: it was steered."""
        return self._has_worked or (self.on and self.acted)

    def edit(self, z: torch.Tensor) -> torch.Tensor:
        """The steered activation; any float dtype, which is kept."""
        self.acted = True
        axis = self.axis_of(z)
        if self.move.device != z.device:
            self.move = self.move.to(z.device)
        move = self._for_rows(len(z), z.device)
        if self.counts_turns:
            self._turn += 1
        moved = move.apply(z, axis=axis)
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
        """The move for the rows of a batch, kept for the next time."""
        prompts = len(self.move)
        owners = None if prompts == 1 else tuple(self._owners(batch, prompts))
        kept = self.rows.conditional(self.name, self.component, batch) if self.rows.only_conditional else []
        if owners is None and all(kept):
            return self.move
        key = (self._key, owners, tuple(kept))
        if key not in self._dealt:
            move = self.move if owners is None else self.move.rows(owners)
            self._dealt[key] = move.only(torch.tensor(kept or [True], device=device))
        return self._dealt[key]

    def _owners(self, batch: int, prompts: int) -> list[int]:
        return self.rows.owners(self.name, self.component, batch, self._turn, prompts)

    def _folded(self, fraction: float) -> Move:
        moves = [affine.move(s, fraction=fraction) for affine, s in self.parts]
        return composed(moves, self.composition).detach()

    def _identity(self) -> Move:
        return Move.identity(self.features, self.parts[0][0].move().device)


class TrainedSite(Site):
    """A site whose maps are being trained: worked out anew for every activation, so that gradients reach the maps."""

    def prepare(self) -> None:
        """Nothing is prepared."""

    def edit(self, z: torch.Tensor) -> torch.Tensor:
        """The steered activation, with gradients."""
        moves = [affine.move(s, fraction=self.progress.fraction) for affine, s in self.parts]
        move = composed(moves, self.composition)
        if len(move) > 1:
            move = move.rows(self._owners(len(z), len(move)))
        return move.apply(z, axis=self.axis_of(z))


def composed(moves: Sequence[Move], composition: Composition) -> Move:
    """One move for several: all of the unsteered activation, or one after the other."""
    return reduce(Move.then if composition == "chain" else Move.plus, moves)
