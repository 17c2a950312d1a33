"""`Learning`: a training in a thread of its own, which is seen while it goes on and keeps what it has on a stop."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..concepts.concept import Concept
from ..errors import LineaError, TrainingDivergedError, reason
from ..grids.report.training_record import save_losses
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..progress import heard
from ..training.config import TrainingConfig
from ..training.effort import training_effort
from ..training.learning import for_concept
from ..training.preview import Preview
from ..training.state.stopping import StopRequest
from ..training.train import train_steering_maps
from .turns import HaltedError, Turns

PICTURES = 10
"""How often pictures are made of a training, at least as many iterations apart as make that many."""


@dataclass
class Progress:
    """How far a training is, for whoever looks.

    Attributes:
        stage: what is done now.
        done: of its units.
        total: units of the stage.
        losses: of the iterations so far.
        pictures: (strength, picture), of what is learned so far.
        after: iterations that those were made after.
        share: of the whole that is done.
        seconds: since it began.
        maps: what was learned, when it is over.
        error: why it is over without maps, or what there is to say of them.
    """

    stage: str = "prepare"
    done: int = 0
    total: int = 1
    losses: list[float] = field(default_factory=list)
    pictures: list[tuple[float, Image.Image]] = field(default_factory=list)
    after: int = 0
    share: float = 0.0
    seconds: float = 0.0
    maps: SteeringMaps | None = None
    error: str = ""


class Learning:
    """One training.

    Args:
        pipe: whose models nobody runs but in turns.
        concept: what is learned.
        config: how.
        folder: where the maps are saved.
        turns: of the models; others may have them between iterations.

    Attributes:
        folder: where the maps are saved.
        prompt: what its pictures show.
        turn: iterations until each strength was trained once.
        progress: how far it is.
    """

    def __init__(self, pipe: Any, concept: Concept, config: TrainingConfig, folder: Path, turns: Turns) -> None:
        config = for_concept(config, concept)
        self._pipe, self._concept, self._config, self.folder, self._turns = pipe, concept, config, folder, turns
        self.prompt, self.turn = concept.source[0], len(config.strengths)
        self.progress = Progress(total=config.iterations)
        self._efforts = training_effort(pipe, concept, config)
        self._stop, self._began = _Asked(), time.monotonic()
        self._news = threading.Event()
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present iteration; what is learned is kept."""
        self._stop.ask()

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to end, and has not yet."""
        return self._stop.is_asked and self.goes_on

    @property
    def seconds_left(self) -> float | None:
        """About; None where nothing can be told yet."""
        now = self.progress
        return now.seconds * (1 - now.share) / now.share if now.share > 0.05 else None

    @property
    def goes_on(self) -> bool:
        """Whether it is not over yet."""
        return self._thread.is_alive()

    def wait(self, seconds: float | None = None) -> None:
        """Until there is something new, it is over, or so much time has passed."""
        self._news.wait(seconds)
        self._news.clear()

    def _run(self) -> None:
        every = max(1, self._config.iterations // PICTURES)
        try:
            with self._turns.turn(), heard(self._hear):
                seen = _Live(self.folder / "preview.png", every, told=self._show)
                maps = train_steering_maps(self._pipe, self._concept, self._config, stop=self._stop, preview=seen)
                self._keep(maps)
        except TrainingDivergedError as error:
            self._keep(error.maps)
            self.progress.error = str(error)
        except LineaError as error:
            self.progress.error = str(error)
        except (RuntimeError, ValueError, TypeError, OSError) as error:  # whatever a pipeline raises
            self.progress.error = f"the training ended with {type(error).__name__}: {reason(error)}"
        finally:
            self._news.set()

    def _hear(self, stage: str, done: int, total: int, facts: Mapping[str, Any]) -> None:
        now = self.progress
        now.stage, now.done, now.total, now.seconds = stage, done, total, time.monotonic() - self._began
        names = [one.stage for one in self._efforts]
        if stage in names:
            at, whole = names.index(stage), sum(one.passes for one in self._efforts)
            gone = sum(one.passes for one in self._efforts[:at]) + self._efforts[at].passes * done / max(1, total)
            now.share = max(now.share, gone / whole)
        if "loss" in facts:
            now.losses.append(float(facts["loss"]))
        self._news.set()
        if self._stop.is_asked and stage == "record":
            raise HaltedError("stopped before anything was learned")
        self._turns.give_way()

    def _show(self, pictures: Sequence[tuple[float, Image.Image]], done: int) -> None:
        self.progress.pictures, self.progress.after = list(pictures), done
        self._news.set()

    def _keep(self, maps: SteeringMaps) -> None:
        if not maps.stored:
            self.progress.error = "nothing was learned: all numbers are zero; learn longer, or with a lower l1"
            return
        maps.save_pretrained(self.folder)
        if Facts.of(maps.metadata).losses:
            save_losses(maps, self.folder)
        self.progress.maps = maps


class _Asked(StopRequest):
    """Asked before each iteration, by a button in place of a signal."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = threading.Event()

    def ask(self) -> None:
        """End after the present iteration."""
        self._asked.set()

    @property
    def is_asked(self) -> bool:
        """Whether somebody asked."""
        return self._asked.is_set()

    def __call__(self) -> bool:
        return self.is_asked


@dataclass
class _Live(Preview):
    """Previews that are told and not written."""

    told: Any = None

    def is_due(self, done: int, total: int) -> bool:
        """As any preview; says when."""
        self._done = done
        return super().is_due(done, total)

    def show(self, pipe: Any, maps: SteeringMaps, prompt: str, arguments: Mapping[str, Any], title: str) -> None:
        """Render, and tell."""
        pictures = self.pictures(pipe, maps, prompt, arguments)
        self.told(list(zip(self.strengths, pictures, strict=True)), self._done)
