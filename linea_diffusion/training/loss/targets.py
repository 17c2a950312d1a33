"""What the activations of an iteration are compared with, and how far they are from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ...concepts.concept import Concept
from ...concepts.levels import Level
from ...progress import Stage, stage
from ..config import TrainingConfig
from ..runs import Place, Places
from ..state.processes import is_main_process
from .distances import interpolate_laws, variance_of, wasserstein_1d

Scales = dict[Place, float]
Distances = tuple[torch.Tensor, Places]
"""The losses of places in their order, (places,), and the gradients of their sum with respect to the activations."""


class Recorder(Protocol):
    """What records activations, as `Batches` does."""

    def record(self, prompts: Sequence[str], rows: Sequence[int]) -> Places:
        """Activations of some of the prompts: place -> (rows, ...)."""


class Target(Protocol):
    """Where the activations of one strength shall go."""

    def __len__(self) -> int:
        """How many places there are."""

    def distances(self, places: Places, rows: Sequence[int]) -> Distances:
        """How far the activations of some rows are from it at some places, and which way is up."""


@dataclass(frozen=True)
class LawTarget:
    """The law of the targets, place by place and coordinate by coordinate, whatever row it comes from.

    Attributes:
        samples: place -> (m, d).
        scales: place -> what its distance is divided by.
    """

    samples: Places
    scales: Scales

    def __len__(self) -> int:
        return len(self.samples)

    def distances(self, places: Places, rows: Sequence[int]) -> Distances:
        """Squared Wasserstein distances, mean over coordinates, of (n, d) or (n, tokens, d) at each place."""
        leaves = {place: values.detach().requires_grad_() for place, values in places.items()}
        with torch.enable_grad():
            each = [
                wasserstein_1d(values.flatten(0, -2), self.samples[place].to(values.device)).mean() / self.scales[place]
                for place, values in leaves.items()
            ]
            losses = torch.stack(each)
        grads = torch.autograd.grad(losses.sum(), list(leaves.values()))
        return losses.detach(), dict(zip(leaves, grads, strict=True))


@dataclass(frozen=True)
class RowTarget:
    """The activations of the target of the same row, token by token, or those on the way to them.

    Attributes:
        before: place -> (rows, ...), recorded of the prompts that ask for a little less.
        after: likewise, of those that ask for a little more.
        share: how far on the way from `before` to `after`, [0, 1].
        scales: place -> what its distance is divided by.
    """

    before: Places
    after: Places
    share: float
    scales: Scales

    def __len__(self) -> int:
        return len(self.after)

    def distances(self, places: Places, rows: Sequence[int]) -> Distances:
        """Mean squared differences of (n, d) or (n, tokens, d) at each place.

        A module that runs once for each prompt of a batch has places of single rows, which are nobody's row of the
        batch: they are left out, with gradients of zero.
        """
        rows = list(rows)
        gradients, losses = {}, []
        for place, values in places.items():
            if len(values) != len(rows) or len(self.after[place]) <= max(rows):
                gradients[place] = torch.zeros_like(values)
                losses.append(torch.zeros((), device=values.device))
                continue
            before, after = (side[place][rows].to(values.device) for side in (self.before, self.after))
            target = torch.lerp(before, after, self.share)
            difference = (values.detach() - target) / self.scales[place]
            losses.append((difference * (values.detach() - target)).mean())
            gradients[place] = 2 / difference.numel() * difference
        return torch.stack(losses), gradients


def targets_of(recorder: Recorder, concept: Concept, config: TrainingConfig) -> tuple[list[Target], Places, Places]:
    """What the iterations of each of the config's strengths train towards, and activations of sources and targets.

    Args:
        recorder: records activations as the config wants them pooled.
        concept: source and target prompts, and prompts of levels between them.
        config: pairing, strengths, dial_exponent, scale_by_variance.
    """

    def record(prompts: Sequence[str], going: Stage) -> Places:
        """Kept in the machine's memory: rows go to the device when their turn comes."""
        rows = {place: rows.cpu() for place, rows in recorder.record(prompts, range(len(prompts))).items()}
        going.update()
        return rows

    sides, between = recorded_sides(concept, config)
    with stage("record", len(sides) + len(between), unit="side", shown=is_main_process()) as going:
        target, *rest = (record(side, going) for side in sides)
        levels = {level.strength: record(level.target, going) for level in between}
    source, scaled, positions = rest[0] if rest else target, config.scale_by_variance, positions_of(concept, config)
    if config.pairing != "rows":
        return [*law_targets(flattened(source), flattened(target), positions, scaled=scaled)], source, target
    return [*row_targets({0.0: source, **levels, 1.0: target}, positions, scaled=scaled)], source, target


def recorded_sides(concept: Concept, config: TrainingConfig) -> tuple[list[Sequence[str]], tuple[Level, ...]]:
    """The prompts whose activations are recorded before the first iteration: targets, sources where they are wanted,
    and levels."""
    halfway = any(strength != 1 for strength in config.strengths)
    sources = halfway or (config.pairing == "rows" and config.rank)
    return [concept.target, *([concept.source] if sources else [])], _levels(concept, config) if halfway else ()


def positions_of(concept: Concept, config: TrainingConfig) -> list[float]:
    """How far on the way from source to target each of the config's strengths is, (0, 1].

    With levels of one's own the way is theirs, and strength s is at s; on a straight line it is at s**dial_exponent.
    """
    return [strength if _levels(concept, config) else strength**config.dial_exponent for strength in config.strengths]


def _levels(concept: Concept, config: TrainingConfig) -> tuple[Level, ...]:
    """The levels that the way leads through."""
    return concept.levels if config.pairing == "rows" and config.use_levels else ()


def flattened(places: Places) -> Places:
    """Samples of a law: (n, d), also of (n, tokens, d)."""
    return {place: rows.flatten(0, -2) for place, rows in places.items()}


def law_targets(source: Places, target: Places, fractions: Sequence[float], *, scaled: bool) -> list[LawTarget]:
    """Laws on the way from the sources' to the targets', see `interpolate_laws`.

    Args:
        source: place -> (n, d).
        target: place -> (m, d).
        fractions: how far on the way, 1 for the targets themselves.
        scaled: divide each place's distance by the variance of its targets.
    """

    def samples(fraction: float) -> Places:
        if fraction == 1:
            return target
        return {place: interpolate_laws(source[place], target[place], fraction) for place in target}

    return [LawTarget(part, _scales(part, scaled)) for part in map(samples, fractions)]


def row_targets(levels: Mapping[float, Places], positions: Sequence[float], *, scaled: bool) -> list[RowTarget]:
    """Activations on the way from the sources through all levels to the targets, straight between neighbours.

    Args:
        levels: position on the way (0: sources, 1: targets) -> place -> (rows, ...).
        positions: where on the way, (0, 1].
        scaled: divide each place's distance by the variance of the targets at 1.
    """
    marks = sorted(levels)
    scales = _scales(levels[1.0], scaled)
    targets = []
    for position in positions:
        after = next(level for level in marks[1:] if position <= level)
        before = marks[marks.index(after) - 1]
        share = (position - before) / (after - before)
        targets.append(RowTarget(levels[before], levels[after], share, scales))
    return targets


def _scales(samples: Places, scaled: bool) -> Scales:
    return {place: float(variance_of(rows.flatten(0, -2))) if scaled else 1.0 for place, rows in samples.items()}
