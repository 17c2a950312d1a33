"""Maps at work: within a context, every call of a pipeline that is made in it is steered by one or several maps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import reduce
from typing import Any

import torch

from ..errors import LineaError
from .activations import Edit, Site, edit_activations
from .addresses import Address, absent, locate, refuse_idle
from .affine.affine_map import AffineMap, acts
from .affine.move import Move
from .calls.acted import Presence, guard_hooks
from .calls.caches import StepCaches, forgetting
from .calls.call import RunningCall
from .calls.layout import no_places
from .curves import StrengthCurve
from .dial import Composition, Dial
from .region import Region

Layer = tuple[Mapping[str, AffineMap], torch.Tensor | StrengthCurve]
"""Maps by activation name, with the strength of all of them, () or (prompts,), or its curve."""
WeightedMap = tuple[AffineMap, torch.Tensor | StrengthCurve]


@contextmanager
def steer(
    pipe: Any, layers: Sequence[Layer], dial: Dial | None = None, call: RunningCall | None = None
) -> Iterator[list[SteeredSite]]:
    """Within the context every call of `pipe` is steered; not what a callback of such a call calls, nor other threads.

    Args:
        pipe: a diffusers pipeline, or a `LanguageModel`.
        layers: maps with their strengths; identities and strength 0 do nothing.
        dial: how they act together, for which rows, and when; `Dial` says what is usual.
        call: what is known of the call.

    Yields:
        The sites that are steered.

    Raises:
        LineaError: maps of another model, (during the call) a batch that the strengths do not fit, or (when the
            context ends) activations that something ran past, see `Account.settle`.
    """
    guard_hooks()
    dial, call = dial or Dial(), call or RunningCall()
    sites = steered_sites(pipe, layers, dial, call)
    strengths = max((site.strengths for site in sites), default=0)
    with ExitStack() as stack:
        caches = stack.enter_context(forgetting(pipe))
        if sites and (not dial.is_always_on or any(site.binned for site in sites)):
            caches.refuse_changes()
        stack.enter_context(call.followed(pipe, dial, strengths=strengths, binned=any(site.binned for site in sites)))
        edits: dict[str, Edit] = {site.name: site.edit for site in sites}
        if not any(isinstance(site, TrainedSite) for site in sites):
            stack.enter_context(call.progress.listened(lambda: _prepare(sites, caches)))
            edits = stack.enter_context(_edits_in_calls(pipe, sites, call, resting(pipe, layers)))
        stack.enter_context(edit_activations({site.name: site.site.module for site in sites}, edits))
        yield sites


def steered_sites(
    pipe: Any, layers: Sequence[Layer], dial: Dial | None = None, call: RunningCall | None = None
) -> list[SteeredSite]:
    """The activations that maps steer, with what is done to them; the arguments are those of `steer`.

    Raises:
        LineaError: maps of another model, or of projections that never run.
    """
    dial, call = dial or Dial(), call or RunningCall()
    modules = locate(pipe, dict.fromkeys(name for maps, _ in layers for name in maps))
    parts = {name: group for name, group in _active_maps(layers).items() if name in modules}
    if dial.region is not None and dial.region.text:
        placed = {name: group for name, group in parts.items() if Address.of(name).in_denoiser}
        if parts and not placed:
            raise no_places()
        parts = placed
    refuse_idle(pipe, {name: modules[name] for name in parts})
    trained = any(affine.is_trained for group in parts.values() for affine, _ in group)
    make = TrainedSite if trained else SteeredSite
    return [make(Site.of(name, modules[name]), group, dial, call) for name, group in parts.items()]


def resting(pipe: Any, layers: Sequence[Layer]) -> list[str]:
    """The activations with maps that act, but whose component the pipeline does without (it is None)."""
    names = absent(pipe, dict.fromkeys(name for maps, _ in layers for name in maps))
    active = _active_maps(layers) if names else {}
    return [name for name in names if name in active]


def _active_maps(layers: Sequence[Layer]) -> dict[str, list[WeightedMap]]:
    """The maps that must be hooked, with their strengths, by activation name: those in training, and those that are
    not exactly the identity, at strengths other than 0."""
    parts: dict[str, list[WeightedMap]] = {}
    for maps, strength in layers:
        if isinstance(strength, StrengthCurve) or bool(torch.any(strength != 0)):
            for name, affine in maps.items():
                if acts(affine):
                    parts.setdefault(name, []).append((affine, strength))
    return parts


@contextmanager
def _edits_in_calls(
    pipe: Any, sites: Sequence[SteeredSite], call: RunningCall, resting: Sequence[str]
) -> Iterator[dict[str, Edit]]:
    """Within the context sites act in the calls that are made in it; others see their activations unchanged.

    Training needs no such check, and could not have it: gradient checkpointing runs modules again in threads of
    autograd's own.

    Yields:
        The edits of the sites; what layers carry themselves needs none.
    """
    with ExitStack() as stack:
        account = stack.enter_context(call.accounted(pipe, [site.presence for site in sites], resting))
        carried: Collection[SteeredSite] = ()
        if call.carry is not None:
            compiled = account.compiled
            carried = stack.enter_context(call.carry(pipe, [one for one in sites if one.presence not in compiled]))
        yield {site.name: site for site in sites if site not in carried}


def _prepare(sites: Sequence[SteeredSite], caches: StepCaches) -> None:
    """The schedule has moved; text encoders do not depend on it."""
    changed = [site.prepare() for site in sites if site.site.address.in_denoiser]
    if any(changed):
        caches.forget()


class SteeredSite:
    """What is done to an activation in a call, worked out before its module runs.

    The numbers change between calls of the denoiser, never within, and they are tensors: code that torch.compile made
    of the model stays valid whatever the strength.

    Args:
        site: the activation.
        parts: its maps with their strengths.
        dial: how they act.
        call: that they act in.

    Attributes:
        features: d of the maps.
        rank: of the maps, 0 where all are coordinate-wise.
        strengths: how many there are for the rows of a batch.
        binned: whether what is done is another in another part of the schedule.
        alike: whether one strength steers all rows, whatever the place in the schedule.
        region: the part of the picture that is steered; None for all of it.
        presence: whether it is on, and has acted.
        move: what is done to the activation now, for all rows alike or for each prompt.
    """

    def __init__(self, site: Site, parts: Sequence[WeightedMap], dial: Dial, call: RunningCall) -> None:
        self.site, self.parts, self.dial, self.call = site, parts, dial, call
        self.name, self.features = site.name, parts[0][0].features
        self.rank = max(affine.rank for affine, _ in parts)
        self.strengths = max(_count(strength) for _, strength in parts)
        curved = dial.curve is not None or any(isinstance(strength, StrengthCurve) for _, strength in parts)
        self.binned, self._curved = curved or any(affine.bins > 1 for affine, _ in parts), curved
        self.alike = self.strengths == 1 and dial.guidance == "both" and not curved
        self.region = dial.region if site.address.in_denoiser else None
        if self.binned and site.address.in_language_model:
            raise LineaError(
                f"got a curve over the schedule, or maps for parts of it, at {self.name!r}: expected numbers and plain "
                "maps, because a language model has no schedule"
            )
        self.presence = Presence(site)
        self._counts_turns, self._turn = site.address.in_text_encoder, 0
        self._by_rows: dict[tuple[object, ...], Move] = {}
        self._by_bins: dict[tuple[float, ...] | None, Move] = {}
        self._bins: tuple[float, ...] | None = None
        self.prepare()

    def prepare(self) -> bool:
        """Work out the move for the present place in the schedule; tells whether it is another one than before."""
        fraction = self.call.progress.fraction
        on = self.dial.start == 0 if self._counts_turns else self.dial.is_on(fraction)
        self.presence.turn(on)
        bins = tuple(affine.bin_at(fraction) for affine, _ in self.parts)
        for strength in self._strengths(fraction) if self._curved else ():
            bins += tuple(strength.flatten().tolist())
        before, self._bins = self._bins, bins if on else None
        if self._bins not in self._by_bins:
            self._by_bins[self._bins] = self._moved(fraction).detach() if on else self._unmoved()
        self.move = self._by_bins[self._bins]
        return self._bins != before

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """The activation as the running code sees it: steered in the site's own call, as it is in others."""
        return self.edit(z) if self.call.is_mine() else z

    def edit(self, z: torch.Tensor) -> torch.Tensor:
        """The steered activation; any float dtype, which is kept."""
        self.presence.acted = True
        axis = self.axis(z)
        if self.move.device != z.device:
            self.move = self.move.to(z.device)
        moved = self._for_rows(len(z), z.device).apply(z, axis=axis)
        if self.region is not None:
            moved = self._within(self.region, z, moved, axis)
        if self._counts_turns:
            self._turn += 1
        if self.call.watch is not None:
            self.call.watch.see(self.name, z, moved)
        return moved

    def axis(self, z: torch.Tensor) -> int:
        """Where the features are.

        Raises:
            LineaError: another number of them than the maps have.
        """
        axis = self.site.axis(z)
        if z.shape[axis] != self.features:
            raise LineaError(
                f"got maps with {self.features} features for {self.name!r} whose activation has {z.shape[axis]}: "
                "load maps that were trained on this base model"
            )
        return axis

    def _within(self, region: Region, z: torch.Tensor, moved: torch.Tensor, axis: int) -> torch.Tensor:
        """The activation, moved where the region is; what has no place in the picture is moved or not as it says."""
        places = self.call.layout.places(self.site, z, axis)
        if places is None:
            return z if region.text else moved
        count, prompts = len(region), self.call.rows.prompts
        images = self.call.images if count == prompts else 1
        owners = None if count == 1 else tuple(self.call.rows.owners(self.site, len(z), 0, count, images))
        return torch.lerp(z, moved, region.weights(places, owners, z))

    def _for_rows(self, batch: int, device: torch.device) -> Move:
        """The move for the rows of a batch, kept for the next time."""
        if self.alike:
            return self.move
        prompts, rows = len(self.move), self.call.rows
        owners = None if prompts == 1 else tuple(self._owners(batch, prompts))
        kept = rows.conditional(self.site, batch) if rows.only_conditional else []
        if owners is None and all(kept):
            return self.move
        key = (self._bins, owners, tuple(kept))
        if key not in self._by_rows:
            move = self.move if owners is None else self.move.rows(owners)
            self._by_rows[key] = move.only(torch.tensor(kept or [True], device=device))
        return self._by_rows[key]

    def _owners(self, batch: int, prompts: int) -> list[int]:
        return self.call.rows.owners(self.site, batch, self._turn, prompts)

    def _moved(self, fraction: float) -> Move:
        strengths = zip(self.parts, self._strengths(fraction), strict=True)
        moves = [affine.move(strength, fraction=fraction) for (affine, _), strength in strengths]
        return composed(moves, self.dial.composition)

    def _strengths(self, fraction: float) -> list[torch.Tensor]:
        """What each map acts at when a share of the schedule is done."""
        factor = 1.0 if self.dial.curve is None else self.dial.curve.at(fraction)
        return [factor * _at(strength, fraction) for _, strength in self.parts]

    def _unmoved(self) -> Move:
        return Move.identity(self.features, self.parts[0][0].shift.device)


def _count(strength: torch.Tensor | StrengthCurve) -> int:
    """For how many pictures there is a strength of its own; 1 where all have the same."""
    return max(strength.rows, 1) if isinstance(strength, StrengthCurve) else strength.numel()


def _at(strength: torch.Tensor | StrengthCurve, fraction: float) -> torch.Tensor:
    """What it is when a share of the schedule is done."""
    return strength.at(fraction) if isinstance(strength, StrengthCurve) else strength


class TrainedSite(SteeredSite):
    """A site whose maps are being trained: worked out anew for every activation, so that gradients reach the maps."""

    def prepare(self) -> bool:
        """Nothing is prepared."""
        return False

    def edit(self, z: torch.Tensor) -> torch.Tensor:
        """The steered activation, with gradients."""
        move = self._moved(self.call.progress.fraction)
        if len(move) > 1:
            move = move.rows(self._owners(len(z), len(move)))
        return move.apply(z, axis=self.axis(z))


def composed(moves: Sequence[Move], composition: Composition) -> Move:
    """One move for several: all of the unsteered activation, or one after the other."""
    return reduce(Move.then if composition == "chain" else Move.plus, moves)
