"""`Learning`: a training in a thread of its own, which is seen while it goes on and keeps what it has on a stop."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..concepts.concept import Concept
from ..errors import LineaError, TrainingDivergedError
from ..grids.report.training_record import save_losses
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..training.config import TrainingConfig
from ..training.effort import training_effort
from ..training.learning import for_concept
from ..training.state.stopping import StopRequest
from ..training.train import train_steering_maps
from ..training.watching import TrainingState
from .turns import HaltedError, Turns
from .work import Work

STRENGTHS = (0.0, 0.5, 1.0)
SHOWN = 10
"""How often pictures are made of a training, about."""


class Learning(Work):
    """One training; its result are maps, which are saved.

    Args:
        pipe: whose models nobody runs but in turns.
        concept: what is learned.
        config: how.
        folder: where the maps are saved.
        turns: of the models; others may have them between iterations.

    Attributes:
        folder: where the maps are saved.
        prompt: what its pictures show.
        cycle: iterations until each strength was trained once.
        losses: of the iterations so far.
        pictures: (strength, picture), of what is learned so far.
        after: iterations that those were made after.
        share: of the whole that is done.
    """

    def __init__(self, pipe: Any, concept: Concept, config: TrainingConfig, folder: Path, turns: Turns) -> None:
        super().__init__(self._learn)
        self.folder, self.prompt, self.cycle = folder, concept.source[0], len(config.strengths)
        self.losses: list[float] = []
        self.pictures: list[tuple[float, Image.Image]] = []
        self.after, self.share = 0, 0.0
        self._pipe, self._concept, self._turns, self._stop = pipe, concept, turns, _Asked()
        self._config = for_concept(config, concept)
        self._efforts = training_effort(pipe, concept, self._config)

    def stop(self) -> None:
        """End after the present iteration; what is learned is kept."""
        self._stop.ask()

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to end, and has not yet."""
        return self._stop() and self.goes_on

    @property
    def seconds_left(self) -> float | None:
        """About; None where nothing can be told yet."""
        return self.seconds * (1 - self.share) / self.share if self.share > 0.05 else None

    def hear(self, stage: str, done: int, total: int, facts: Mapping[str, Any]) -> None:
        """How far it is; whoever waits for the models has them first."""
        names = [one.stage for one in self._efforts]
        if stage in names:
            at, whole = names.index(stage), sum(one.passes for one in self._efforts)
            gone = sum(one.passes for one in self._efforts[:at]) + self._efforts[at].passes * done / max(1, total)
            self.share = max(self.share, gone / whole)
        super().hear(stage, done, total, facts)
        if self._stop() and stage == "record":
            raise HaltedError("stopped before anything was learned")
        self._turns.give_way()

    def _learn(self) -> SteeringMaps:
        with self._turns.turn():
            try:
                maps = train_steering_maps(
                    self._pipe, self._concept, self._config, stop=self._stop, callback=self._look
                )
            except TrainingDivergedError as error:
                self._keep(error.maps)
                raise
            return self._keep(maps)

    def _look(self, state: TrainingState) -> None:
        self.losses.append(state.loss)
        done, every = state.iteration, max(1, state.iterations // SHOWN)
        if done in (1, state.iterations) or done % every == 0:
            self.pictures, self.after = list(zip(STRENGTHS, state.pictures(None, STRENGTHS), strict=True)), done

    def _keep(self, maps: SteeringMaps) -> SteeringMaps:
        if not maps.stored:
            raise LineaError("got maps that are zero: expected some that act; learn longer, or with a lower l1")
        maps.save_pretrained(self.folder)
        if Facts.of(maps.metadata).losses:
            save_losses(maps, self.folder)
        return maps


class _Asked(StopRequest):
    """Asked before each iteration, by a button in place of a signal."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = threading.Event()

    def ask(self) -> None:
        """End after the present iteration."""
        self._asked.set()

    def __call__(self) -> bool:
        return self._asked.is_set()
