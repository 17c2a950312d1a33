"""LinEAS training: all maps at once, end to end, through every denoising step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..concepts.concept import Concept
from ..concepts.pairing import check_pairs
from ..errors import LineaError, TrainingDivergedError
from ..maps.packing import check_shapes
from ..maps.steering_maps import SteeringMaps
from ..steering.call import RunningCall
from ..steering.steer import steer
from .calibration.calibrate import calibrate_progress
from .calibration.reach import reach_of
from .checkpoints import Checkpoints, claimed
from .config import TrainingConfig
from .identity import identity_of
from .iteration import Batches, NotFiniteError, batches_of, facts_of
from .loss.starting import start_from_regression
from .loss.targets import positions_of, targets_of
from .optimizer import MapOptimizer
from .processes import any_of_all, is_main_process, wait_for_all
from .recipes import recipe_for
from .stopping import StopRequest

CALIBRATED = 8
"""Source prompts on which a dial is calibrated when training ends."""


def train_steering_maps(
    pipe: Any,
    concept: Concept,
    config: TrainingConfig | None = None,
    *,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
    stop: StopRequest | None = None,
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
            goes on there and ends with the maps of an uninterrupted one, bit for bit. The last state stays until the
            maps are saved (`SteeringMaps.save_pretrained` or `push_to_hub`), so that nothing is lost between.
        checkpoint_every: iterations between states.
        stop: asked before each iteration; when it says True, training ends with the maps learned so far, and
            ``metadata["stopped_after"]`` says after how many iterations; 0: nothing is learned. Of several processes
            all end when one is asked to.

    Returns:
        The maps, with the losses and all settings in their metadata. An interrupt from the keyboard ends training
        with a warning and the maps learned so far; ``metadata["stopped_after"]`` then says after how many iterations.

    Raises:
        TrainingDivergedError: a number is no longer finite; the error names module, denoising step and iteration,
            and carries the last good maps.
        LineaError: no module matches, the settings do not fit, a state of another training, another training at work
            in the folder of states, a state that cannot be written, or sources and targets that are the same to the
            text encoders or to the chosen modules.
    """
    config = for_concept(config or recipe_for(pipe, concept), concept)
    if type(checkpoint_every) is not int or checkpoint_every < 1:
        raise LineaError(f"got checkpoint_every={checkpoint_every!r}: expected a whole number of at least 1")
    with ExitStack() as stack:
        batches = stack.enter_context(batches_of(pipe, config))
        config = batches.fit_tokens(concept)
        facts = facts_of(batches.trajectory.pipe, concept, config)
        folder = found = None
        if checkpoint is not None:
            if is_main_process():
                stack.enter_context(claimed(Path(checkpoint)))
            folder = Checkpoints(Path(checkpoint), {**facts, **identity_of(batches.trajectory.pipe)})
            found = folder.load()
        training = _Training(batches, concept, config, facts)
        if found:
            training.resume(*found)
        training.learn(folder, checkpoint_every, stop or StopRequest())
        return training.finished()


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


class _Training:
    """One training: what its iterations share.

    Attributes:
        settled: the optimiser's state after the last whole iteration, and the losses up to it.
        good: its state one iteration before, with which the loss was finite.
    """

    def __init__(self, batches: Batches, concept: Concept, config: TrainingConfig, facts: Mapping[str, Any]) -> None:
        self.batches, self.concept, self.config = batches, concept, config
        self.pipe, self.progress = batches.trajectory.pipe, batches.trajectory.progress
        self.fractions = positions_of(concept, config)
        batches.check(concept)
        self.targets, source, target = targets_of(batches, concept, config)
        self.maps = batches.fresh_maps(target)
        if config.rank and config.pairing == "rows":
            start_from_regression(self.maps, source, target, config.warm_start)
        check_shapes({name: list(affine.shape) for name, affine in self.maps.named_maps()}, "the chosen modules")
        self.maps.metadata = {**facts, "text": concept.text, "neutral": concept.neutral}
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

    def learn(self, checkpoints: Checkpoints | None, every: int, stop: StopRequest) -> None:
        """Fit the maps in place, and note in their metadata how it went."""
        stop.gentle = True
        try:
            self._iterate(checkpoints, every, stop)
        except NotFiniteError as error:
            self.optimizer.load(self.good)
            self._note()
            raise TrainingDivergedError(
                f"got {error} in iteration {len(self.losses)}: expected finite numbers; lower lr (now "
                f"{self.config.lr}) or use float32; the last good maps are this error's .maps",
                self.stretched(self.config.stretch or 1.0),
            ) from None
        except KeyboardInterrupt:
            if not self.losses:
                raise
            self.optimizer.load(self.settled[0])  # back to the last whole iteration
            self._warn_of_stop()
        else:
            wait_for_all()
        if len(self.losses) < self.config.iterations:
            self.maps.metadata["stopped_after"] = len(self.losses)
        if checkpoints and is_main_process() and self.losses:
            self._keep(checkpoints)
        self._note()

    def _iterate(self, checkpoints: Checkpoints | None, every: int, stop: StopRequest) -> None:
        total = self.config.iterations
        quiet = not is_main_process()
        with tqdm(total=total, initial=len(self.losses), desc="train", unit="it", disable=quiet) as bar:
            while len(self.losses) < total and not any_of_all(stop()):
                iteration = len(self.losses)
                loss = self._gradients(iteration)
                if loss == 0 and not iteration:
                    raise LineaError(
                        f"got a loss of exactly 0 in the first iteration of {self.concept.name!r}: expected source and "
                        "target prompts that differ at the chosen modules; nothing can be learned from these"
                    )
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
        with steer(self.pipe, [(dict(self.maps.named_maps()), strength)], call=RunningCall(progress=self.progress)):
            return self.batches.gradients(
                self.maps, prompts, rows, self.targets[turn], weight=1 / self.fractions[turn] ** 2
            )

    def finished(self) -> SteeringMaps:
        """The maps as users get them: stretched, with a calibrated dial. After a stop they are as they are."""
        config, stretch = self.config, self.config.stretch or 1.0
        if "stopped_after" in self.maps.metadata:
            return self.stretched(stretch)
        prompts, target = (list(side[:CALIBRATED]) for side in (self.concept.source, self.concept.target))
        first = config.seed * 1_000_003
        given = {
            "batch_size": config.micro_batch_size or max(config.batch_size or 0, CALIBRATED),
            **self.batches.trajectory.arguments,
        }
        try:
            if config.stretch is None and config.pairing == "rows":
                seeds = range(first, first + len(prompts))
                stretch = reach_of(self.pipe, self.stretched(1.0), prompts, target, seeds, **given)
            maps = self.stretched(stretch)
            if config.calibrate:
                calibrate_progress(self.pipe, maps, prompts, seed=first, **given)
        except (LineaError, KeyboardInterrupt) as error:
            warnings.warn(f"the dial is not calibrated: {error or 'interrupted'}", stacklevel=3)
            return self.stretched(stretch)
        return maps

    def stretched(self, stretch: float) -> SteeringMaps:
        """The maps so far without ranks that do nothing, at strength 1 what they are at `stretch`."""
        trimmed = self.maps.requires_grad_(False).trimmed().named_maps()
        whole = SteeringMaps.of({name: affine.times(stretch) for name, affine in trimmed}, self.maps.metadata)
        whole.metadata["stretch"] = stretch
        whole.on_saved = self.maps.on_saved
        return whole

    def _keep(self, checkpoints: Checkpoints) -> None:
        """The state stays on disk until the maps are saved; if it cannot be written, saving them is still worth it."""
        try:
            checkpoints.save(*self.settled)
        except LineaError as error:
            warnings.warn(str(error), stacklevel=5)
        self.maps.on_saved = checkpoints.remove if "stopped_after" not in self.maps.metadata else None

    def _warn_of_stop(self) -> None:
        warnings.warn(
            f"training stopped after {len(self.losses)} of {self.config.iterations} iterations; the maps are those "
            "learned so far",
            stacklevel=5,
        )

    def _note(self) -> None:
        self.maps.metadata["losses"] = [round(loss, 8) for loss in self.losses]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
