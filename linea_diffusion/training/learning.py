"""Learning maps on any model: its iterations, what ends them, and the states to go on from."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from ..concepts.concept import Concept
from ..concepts.pairing import check_pairs
from ..errors import LineaError, TrainingDivergedError
from ..maps.facts import Facts
from ..maps.packing import check_shapes
from ..maps.steering_maps import SteeringMaps
from ..progress import stage
from .config import TrainingConfig
from .iteration import Batches, BatchLoss, NotFiniteError, facts_of, with_prompts
from .loss.starting import start_from_regression
from .loss.targets import positions_of, targets_of
from .runs import OnIteration
from .state.checkpoints import Checkpoints, claimed
from .state.optimizer import MapOptimizer
from .state.processes import any_of_all, is_main_process, wait_for_all
from .state.stopping import StopRequest


@contextmanager
def states_in(folder: Path, batches: Batches, concept: Concept) -> Iterator[Checkpoints]:
    """Within the context a folder is this training's alone.

    Raises:
        LineaError: another training is at work there.
    """
    with claimed(folder) if is_main_process() else nullcontext():
        facts = facts_of(batches.run, concept, batches.config).as_metadata()
        yield Checkpoints(folder, facts | batches.run.identity())


def for_concept(config: TrainingConfig, concept: Concept) -> TrainingConfig:
    """The settings with the pairing that a concept allows in place of ``"auto"``.

    Raises:
        LineaError: pairs are demanded and the concept's rows do not match.
    """
    if config.pairing == "rows":
        check_pairs(concept.source, concept.target, concept.name)
    if config.pairing != "auto":
        return config
    return replace(config, pairing="rows" if concept.is_paired else "law")


def learn(
    batches: Batches,
    concept: Concept,
    states: Checkpoints | None = None,
    *,
    every: int = 10,
    stop: StopRequest | None = None,
    on_iteration: OnIteration | None = None,
) -> SteeringMaps:
    """Learn maps on whatever model the batches run through; `train_steering_maps` says how.

    Args:
        batches: with settings `for_concept`.
        concept: source and target prompts.
        states: to go on from, and to write to.
        every: iterations between states.
        stop: asked before each iteration.
        on_iteration: called by the main process, see `OnIteration`.

    Returns:
        The maps at the end of the last iteration, not stretched.

    Raises:
        TrainingDivergedError: a number is no longer finite.
        LineaError: sources and targets are the same, or a state of another training.
    """
    state = states.load() if states else None
    training = _Training(batches, concept, began=time.monotonic() - (states.seconds if states else 0))
    if state:
        training.resume(*state)
    training.learn(states, every, stop or StopRequest(), on_iteration or (lambda *state: None))
    return training.maps.requires_grad_(False)


class _Training:
    """One training: what its iterations share.

    Attributes:
        settled: the optimiser's state after the last whole iteration, and the losses up to it.
        good: its state one iteration before, with which the loss was finite.
        began: when it would have begun by the monotonic clock, had it never been interrupted.
    """

    def __init__(self, batches: Batches, concept: Concept, *, began: float) -> None:
        self.batches, self.concept, self.config, self.began = batches, concept, batches.config, began
        config = self.config
        self.fractions = positions_of(concept, config)
        batches.run.check(concept, config.micro_batch_size or config.batch_size)
        self.targets, source, target = targets_of(batches, concept, config)
        self.maps = batches.fresh_maps(target)
        if config.rank and config.pairing == "rows":
            start_from_regression(self.maps, source, target, config.warm_start)
        check_shapes({name: list(affine.shape) for name, affine in self.maps.named_maps()}, "the chosen modules")
        self.facts = with_prompts(facts_of(batches.run, concept, config), concept)
        self.optimizer = MapOptimizer(self.maps, config)
        self.good = self.optimizer.state()
        self.settled: tuple[dict[str, torch.Tensor], list[float]] = (self.good, [])

    @property
    def losses(self) -> list[float]:
        """Of the iterations done."""
        return self.settled[1]

    def resume(self, tensors: dict[str, torch.Tensor], losses: list[float]) -> None:
        """Go on from a state that was written after so many iterations as there are losses."""
        for name, tensor in self.good.items():
            if name not in tensors or tensors[name].shape != tensor.shape:
                raise LineaError(
                    f"got a training state without {name!r} of shape {tuple(tensor.shape)}: expected one as written; "
                    "remove its folder to begin anew"
                )
        self.optimizer.load(tensors)
        self.settled, self.good = (tensors, losses), tensors

    def learn(self, states: Checkpoints | None, every: int, stop: StopRequest, on_iteration: OnIteration) -> None:
        """Fit the maps in place, and note in their metadata how it went."""
        stop.gentle = True
        try:
            self._iterate(states, every, stop, on_iteration)
        except NotFiniteError as error:
            self.optimizer.load(self.good)
            self._note()
            raise TrainingDivergedError(
                f"got {error} in iteration {len(self.losses)}: expected finite numbers; lower lr (now "
                f"{self.config.lr}) or use float32; the last good maps are this error's .maps",
                stretched(self.maps.requires_grad_(False), self.config.stretch or 1.0),
            ) from None
        except KeyboardInterrupt:
            if not self.losses:
                raise
            self.optimizer.load(self.settled[0])  # back to the last whole iteration
            self._warn_of_stop()
        else:
            wait_for_all()
        if states and is_main_process() and self.losses:
            self._keep(states)
        self._note(stopped=len(self.losses) < self.config.iterations)

    def _iterate(self, states: Checkpoints | None, every: int, stop: StopRequest, on_iteration: OnIteration) -> None:
        total = self.config.iterations
        quiet = not is_main_process()
        with stage("learn", total, unit="iteration", done=len(self.losses), shown=not quiet) as going:
            while len(self.losses) < total and not any_of_all(stop()):
                iteration = len(self.losses)
                loss = self._gradients(iteration)
                if loss.value == 0 and not iteration:
                    raise LineaError(
                        f"got a loss of exactly 0 in the first iteration of {self.concept.name!r}: expected source and "
                        "target prompts that differ at the chosen modules; nothing can be learned from these"
                    )
                self.good = self.settled[0]
                self.optimizer.step(iteration)
                self.settled = (self.optimizer.state(), [*self.losses, loss.value])
                if states and is_main_process() and len(self.losses) % every == 0 and len(self.losses) < total:
                    self._save(states)
                if not quiet:
                    on_iteration(len(self.losses), loss.by_module, self.maps)
                going.update(loss=f"{_mean(self.losses[-len(self.targets) :]):.4f}")

    def _gradients(self, iteration: int) -> BatchLoss:
        turn = iteration % len(self.targets)
        prompts = self.concept.source
        order = torch.Generator().manual_seed(self.config.seed * 1_000_003 + iteration)
        rows = sorted(torch.randperm(len(prompts), generator=order)[: self.config.batch_size].tolist())
        return self.batches.gradients(
            self._acting(iteration), prompts, rows, self.targets[turn],
            strength=self.config.strengths[turn], weight=1 / self.fractions[turn] ** 2,
        )  # fmt: skip

    def _acting(self, iteration: int) -> SteeringMaps:
        """The maps of an iteration: all of them, or those that ``map_dropout`` leaves, at least one."""
        named, share = dict(self.maps.named_maps()), self.config.map_dropout
        if not share:
            return self.maps
        chance = torch.Generator().manual_seed(self.config.seed * 1_000_033 + iteration)
        drawn = torch.rand(len(named), generator=chance).tolist()
        kept = {name: affine for (name, affine), one in zip(named.items(), drawn, strict=True) if one >= share}
        last = max(zip(drawn, named, strict=True))[1]
        return SteeringMaps.of(kept or {last: named[last]})

    def _keep(self, states: Checkpoints) -> None:
        """The state stays on disk until the maps are saved; if it cannot be written, saving them is still worth it."""
        try:
            self._save(states)
        except LineaError as error:
            warnings.warn(str(error), stacklevel=5)
        self.maps.on_saved = states.remove if len(self.losses) == self.config.iterations else None

    def _save(self, states: Checkpoints) -> None:
        states.seconds = time.monotonic() - self.began
        states.save(*self.settled)

    def _warn_of_stop(self) -> None:
        warnings.warn(
            f"training stopped after {len(self.losses)} of {self.config.iterations} iterations; the maps are those "
            "learned so far",
            stacklevel=5,
        )

    def _note(self, *, stopped: bool = False) -> None:
        losses = [round(loss, 8) for loss in self.losses]
        seconds = round(time.monotonic() - self.began, 1)
        facts = replace(
            self.facts, losses=losses, training_seconds=seconds, stopped_after=len(losses) if stopped else None
        )
        self.maps.metadata = facts.as_metadata()


def stretched(maps: SteeringMaps, stretch: float) -> SteeringMaps:
    """The maps without ranks that do nothing, at strength 1 what they are at `stretch`."""
    trimmed = maps.trimmed()
    facts = {**maps.metadata, **Facts(stretch=stretch).as_metadata()}
    times = SteeringMaps.of({name: affine.times(stretch) for name, affine in trimmed.named_maps()}, facts)
    times.on_saved = maps.on_saved
    return times


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
