"""LinEAS training: all maps at once, end to end, through every denoising step."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from .checkpoints import Checkpoints
from .concepts import Concept
from .errors import LineaError, TrainingDivergedError
from .iteration import Batches, NotFiniteError, batches_of, facts_of
from .losses import interpolate_laws
from .maps import SteeringMaps
from .optimization import MapOptimizer
from .processes import is_main_process, wait_for_all
from .recipes import recipe_for
from .steering import steer
from .training_config import TrainingConfig
from .trajectory import Places


def train_steering_maps(
    pipe: Any,
    concept: Concept,
    config: TrainingConfig | None = None,
    *,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
) -> SteeringMaps:
    """Learn the maps that carry a model's activations from the source prompts to the target prompts.

    Implements LinEAS (arXiv 2503.10679): target activations are recorded once; in each iteration the source
    prompts run through the pipeline with the maps in place, and the loss, averaged over modules, steps and
    coordinates, is differentiated through all layers and all denoising steps. The base weights stay untouched.

    Started in several processes (``accelerate launch``), each runs its share of the prompts; all return the same maps.

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        concept: source and target prompts.
        config: see `TrainingConfig`; `recipe_for` the pipeline when left out.
        checkpoint: folder for the state of an unfinished training. If it holds one with the same settings, training
            goes on there and ends with the maps of an uninterrupted one, bit for bit; it is removed at the end.
        checkpoint_every: iterations between states.

    Returns:
        The maps, with the losses and all settings in their metadata. An interrupt from the keyboard ends training
        with a warning and the maps learned so far; ``metadata["stopped_after"]`` then says after how many iterations.

    Raises:
        TrainingDivergedError: a number is no longer finite; the error names module, denoising step and iteration,
            and carries the last good maps.
        LineaError: no module matches, the settings do not fit, or a state of another training.
    """
    config = config or recipe_for(pipe)
    if type(checkpoint_every) is not int or checkpoint_every < 1:
        raise LineaError(f"got checkpoint_every={checkpoint_every!r}: expected a whole number of at least 1")
    with batches_of(pipe, config) as batches:
        training = _Training(batches, concept, config)
        folder = None if checkpoint is None else Checkpoints(Path(checkpoint), training.identity)
        training.learn(folder, checkpoint_every)
    return training.maps.requires_grad_(False)


class _Training:
    """One training: what its iterations share.

    Attributes:
        settled: the optimiser's state after the last whole iteration, and the losses up to it.
        good: its state one iteration before, with which the loss was finite.
    """

    def __init__(self, batches: Batches, concept: Concept, config: TrainingConfig) -> None:
        self.batches, self.concept, self.config = batches, concept, config
        self.pipe, self.progress = batches.trajectory.pipe, batches.trajectory.progress
        self.fractions = [strength**config.dial_exponent for strength in config.strengths]
        self.identity = facts_of(self.pipe, concept, config)
        self.targets = self._targets()
        self.maps = batches.fresh_maps(self.targets[0])
        self.maps.metadata = {**self.identity, "text": concept.text, "neutral": concept.neutral}
        self.optimizer = MapOptimizer(self.maps, config)
        self.good = self.optimizer.state()
        self.settled: tuple[dict[str, torch.Tensor], list[float]] = (self.good, [])

    @property
    def losses(self) -> list[float]:
        """Of the iterations done."""
        return self.settled[1]

    def _targets(self) -> list[Places]:
        """What iterations train towards, one entry for each of the config's strengths: place -> (samples, d)."""
        target = self.batches.samples(self.concept.target)
        if all(strength == 1 for strength in self.config.strengths):
            return [target] * len(self.config.strengths)
        source = self.batches.samples(self.concept.source)
        return [
            {place: interpolate_laws(source[place], target[place], fraction) for place in target}
            for fraction in self.fractions
        ]

    def learn(self, checkpoints: Checkpoints | None, every: int) -> None:
        """Fit the maps in place, and note in their metadata how it went."""
        if checkpoints and (found := checkpoints.load()):
            self.settled, self.good = found, found[0]
            self.optimizer.load(found[0])
        try:
            self._iterate(checkpoints, every)
        except NotFiniteError as error:
            self.optimizer.load(self.good)
            self._note()
            raise TrainingDivergedError(
                f"got {error} in iteration {len(self.losses)}: expected finite numbers; lower lr (now "
                f"{self.config.lr}) or use float32; the last good maps are this error's .maps",
                self.maps.requires_grad_(False),
            ) from None
        except KeyboardInterrupt:
            if not self.losses:
                raise
            self._stop(checkpoints)
        else:
            wait_for_all()
            if checkpoints and is_main_process():
                checkpoints.remove()
        self._note()

    def _iterate(self, checkpoints: Checkpoints | None, every: int) -> None:
        total = self.config.iterations
        quiet = not is_main_process()
        with tqdm(total=total, initial=len(self.losses), desc="train", unit="it", disable=quiet) as bar:
            while len(self.losses) < total:
                iteration = len(self.losses)
                loss = self._gradients(iteration)
                self.good = self.settled[0]
                self.optimizer.step(iteration)
                self.settled = (self.optimizer.state(), [*self.losses, loss])
                if checkpoints and is_main_process() and len(self.losses) % every == 0 and len(self.losses) < total:
                    checkpoints.save(*self.settled)
                bar.update()
                bar.set_postfix(loss=f"{_mean(self.losses[-len(self.targets) :]):.4f}")

    def _gradients(self, iteration: int) -> float:
        turn = iteration % len(self.targets)
        prompts = self.concept.source
        order = torch.Generator().manual_seed(self.config.seed * 1_000_003 + iteration)
        rows = sorted(torch.randperm(len(prompts), generator=order)[: self.config.batch_size].tolist())
        strength = torch.tensor(self.config.strengths[turn])
        with steer(self.pipe, [(self.maps, strength)], progress=self.progress):
            return self.batches.gradients(
                self.maps, prompts, rows, self.targets[turn], weight=1 / self.fractions[turn] ** 2
            )

    def _stop(self, checkpoints: Checkpoints | None) -> None:
        """Keep what is learned: go back to the last whole iteration, and say so."""
        self.optimizer.load(self.settled[0])
        if checkpoints and is_main_process():
            checkpoints.save(*self.settled)
        self.maps.metadata["stopped_after"] = len(self.losses)
        warnings.warn(
            f"training stopped after {len(self.losses)} of {self.config.iterations} iterations; the maps are those "
            "learned so far",
            stacklevel=4,
        )

    def _note(self) -> None:
        self.maps.metadata["losses"] = [round(loss, 8) for loss in self.losses]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
