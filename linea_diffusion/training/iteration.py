"""The gradient of one iteration: of a batch in one piece, or in pieces that add up to exactly the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import isfinite

import torch

from ..concepts.concept import Concept
from ..errors import LineaError
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..steering.affine.affine_map import AffineMap
from .config import TrainingConfig
from .loss.targets import Target, flattened
from .runs import Place, Places, Run
from .state.processes import add_up, gather_rows, share_of, share_of_rows, works_alone
from .trajectory import Trajectory

_LARGEST = 2**30
"""Bytes of recorded activations of one side, or level, of a concept."""


@contextmanager
def batches_of(run: Run, config: TrainingConfig) -> Iterator[Batches]:
    """Within the context a model is frozen and followed, and batches of prompts can be run through it.

    Raises:
        LineaError: no module matches the config's target_modules, or none of them suits its pooling.
    """
    modules = run.modules(config.target_modules)
    with run.frozen():
        yield Batches(Trajectory(run, modules, config))


class NotFiniteError(ArithmeticError):
    """A loss or gradient is NaN or infinite; the message says which and where."""


@dataclass
class Batches:
    """How the prompts of a batch run: in which pieces, by which process, from which noise.

    Attributes:
        trajectory: runs the model; its config also says micro_batch_size, seed and reduction.
    """

    trajectory: Trajectory

    @property
    def run(self) -> Run:
        """The model."""
        return self.trajectory.run

    @property
    def config(self) -> TrainingConfig:
        """The settings."""
        return self.trajectory.config

    def record(self, prompts: Sequence[str], rows: Sequence[int]) -> Places:
        """Activations of some of the prompts, all processes together, without gradient: place -> (rows, ...)."""
        parts: dict[Place, list[torch.Tensor]] = {}
        with torch.no_grad():
            for piece in self._micro_batches(share_of(rows)):
                for place, values in self.trajectory.record(*self._batch(prompts, piece)).items():
                    parts.setdefault(place, []).append(values)
        return gather_rows({place: torch.cat(values) for place, values in parts.items()}, len(rows))

    def fit_tokens(self, concept: Concept) -> TrainingConfig:
        """The settings, with fewer tokens per sample where so many activations of a side would take `_LARGEST` bytes.

        They hold for what is recorded from now on.
        """
        count = self.config.tokens_per_sample
        if self.config.pooled == "tokens":
            self._take(1)
            one = self.record(concept.target, range(1))
            numbers = sum(rows.shape[-1] for rows in one.values()) * len(concept.target)
            self._take(max(1, min(count, _LARGEST // max(1, 4 * numbers))))
        return self.config

    def _take(self, tokens: int) -> None:
        self.trajectory.config = replace(self.config, tokens_per_sample=tokens)

    def samples(self, prompts: Sequence[str]) -> Places:
        """Samples of the loss from all prompts: place -> (n, d), or (n * tokens, d) if tokens are sampled."""
        return flattened(self.record(prompts, range(len(prompts))))

    def fresh_maps(self, samples: Places) -> SteeringMaps:
        """Identity maps for every module that ran, in the order of the modules, where the model is.

        What the config does not want learned is frozen. V is drawn by the config's seed, so that U has somewhere to go.

        Raises:
            LineaError: none did.
        """
        widths = {place[0]: rows.shape[-1] for place, rows in samples.items()}
        if not widths:
            raise LineaError(
                f"got target_modules={self.config.target_modules!r}, whose modules (such as "
                f"{next(iter(self.trajectory.modules))!r}) did not run in a call of this "
                f"{self.run.facts().base_class}: expected modules that run; choose others"
            )
        draw, maps = torch.Generator().manual_seed(self.config.seed), {}
        for name in self.trajectory.modules:
            if name in widths:
                bins = self.config.step_bins if name in self.trajectory.stepped else 1
                maps[name] = AffineMap(widths[name], bins, min(self.config.rank, widths[name]))
                maps[name].learn(scale=self.config.scale, shift=self.config.shift, draw=draw)
        return SteeringMaps.of(maps).to(self.run.device)

    def gradients(
        self, maps: SteeringMaps, prompts: Sequence[str], rows: Sequence[int], target: Target,
        *, strength: float = 1.0, weight: float = 1.0,
    ) -> BatchLoss:  # fmt: skip
        """Put the gradients of weight * loss at a strength into the maps, and return that loss.

        A batch that runs in one piece needs one pass. Otherwise, as GradCache does for contrastive losses
        (arXiv 2101.06983): a first pass without gradients records every sample's activations; the gradient of the
        whole batch's loss with respect to them is worked out; a second pass runs piece by piece and
        sends each piece's part of that gradient back. Across processes, activations are gathered and the maps'
        gradients added up.

        Raises:
            NotFiniteError: the loss or a gradient is not finite.
        """
        loss = BatchLoss(target, rows, self.config, weight)
        with self.run.steered(maps, strength):
            if works_alone() and len(self._micro_batches(rows)) == 1:
                self.trajectory.backward(*self._batch(prompts, rows), loss.gradients)
            else:
                self._in_micro_batches(maps, prompts, rows, loss)
        _check_gradients(maps)
        return loss

    def _in_micro_batches(
        self, maps: SteeringMaps, prompts: Sequence[str], rows: Sequence[int], loss: BatchLoss
    ) -> None:
        gradients = loss.gradients(self.record(prompts, rows))
        share = {place: share_of_rows(grads) for place, grads in gradients.items()}
        done = 0
        for piece in self._micro_batches(share_of(rows)):
            part = {place: grads[done : done + len(piece)] for place, grads in share.items()}
            self.trajectory.backward(*self._batch(prompts, piece), partial(_constant, part))
            done += len(piece)
        add_up(parameter.grad for parameter in maps.parameters() if parameter.grad is not None)

    def _micro_batches(self, rows: Sequence[int]) -> list[list[int]]:
        size = self.config.micro_batch_size or self.config.batch_size or len(rows)
        return [list(rows[start : start + size]) for start in range(0, len(rows), size)]

    def _batch(self, prompts: Sequence[str], rows: Sequence[int]) -> tuple[list[str], list[int]]:
        """Prompts and noise of some rows: sources and targets of the same row share their noise."""
        return [prompts[row] for row in rows], [self.config.seed * 1_000_003 + row for row in rows]


def _constant(gradients: Places, places: Places) -> Places:
    """Gradients that were worked out before, for whichever places are asked for."""
    return gradients


class BatchLoss:
    """The loss of a whole batch, worked out place by place as activations come in.

    Args:
        target: where they shall go.
        rows: of the batch.
        config: reduction.
        weight: factor of the loss.

    Attributes:
        value: weight * loss of the places seen so far.
        by_module: activation name -> its part of that.
    """

    def __init__(self, target: Target, rows: Sequence[int], config: TrainingConfig, weight: float) -> None:
        self.target, self.rows, self.value = target, rows, 0.0
        self.by_module: dict[str, float] = {}
        self.weight = weight / (len(target) if config.reduction == "mean" else 1)

    def gradients(self, places: Places) -> Places:
        """The gradients with respect to these activations, (n, d) or (n, tokens, d) each.

        Raises:
            NotFiniteError: the loss is not finite; the message names the first such place.
        """
        if not places:
            return {}
        losses, gradients = self.target.distances(places, self.rows)
        total, *each = torch.cat([losses.sum()[None], losses]).tolist()
        self.value += self.weight * total
        for (name, _, _), loss in zip(places, each, strict=True):
            self.by_module[name] = self.by_module.get(name, 0.0) + self.weight * loss
        if not isfinite(total):
            raise NotFiniteError(_where(places))
        return {place: self.weight * gradient for place, gradient in gradients.items()}


def _where(places: Places) -> str:
    for (name, call, _), rows in places.items():
        if not bool(rows.isfinite().all()):
            return f"NaN or infinity in activation {name!r} at denoising step {call}"
    return "an infinite loss of finite activations"


def _check_gradients(maps: SteeringMaps) -> None:
    for name, affine in maps.named_maps():
        for parameter in affine.parameters():
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                raise NotFiniteError(f"NaN or infinity in the gradient of {name!r}")


def facts_of(run: Run, concept: Concept, config: TrainingConfig) -> Facts:
    """Facts that tell a training from another: concept, prompts, base model, settings."""
    return replace(run.facts(), concept=concept.name, prompts_sha256=concept.digest, training=asdict(config))


def with_prompts(facts: Facts, concept: Concept) -> Facts:
    """Facts with what scoring and calibrating the maps needs of their concept."""
    prompts = list(concept.source[:_PROMPTS_KEPT])
    return replace(facts, text=concept.text, neutral=concept.neutral, source_prompts=prompts)


_PROMPTS_KEPT = 64
