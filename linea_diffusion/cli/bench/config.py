"""What a measurement of costs is asked for, checked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from ...errors import LineaError, check_seed
from ...shapeland.captions import plain_captions
from ...training.config import TrainingConfig

TIMED = ("generation", "row", "training")
PARTS = (*TIMED, "memory")


@dataclass(frozen=True)
class BenchConfig:
    """What is measured, and on which job.

    Attributes:
        what: some of `PARTS`; ``("memory",)`` alone looks at the ways of all parts.
        batch_size: pictures of a generation, prompts of a training iteration.
        rounds: how often each way is timed.
        steps: denoising steps; None is the pipeline's default for pictures, and training's for training.
        guidance: guidance scale; None likewise.
        height: of the pictures in pixels; None is the pipeline's default.
        width: likewise.
        modules: presets or patterns, for training, and for random maps where the pipeline has none loaded.
        seed: of noise and random maps.
    """

    what: tuple[str, ...] = PARTS
    batch_size: int = 8
    rounds: int = 15
    steps: int | None = None
    guidance: float | None = None
    height: int | None = None
    width: int | None = None
    modules: tuple[str, ...] = ("attention",)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.what or any(part not in PARTS for part in self.what):
            raise LineaError(f"got what={','.join(self.what)!r}: expected some of {', '.join(PARTS)}")
        for name in ("batch_size", "rounds", "steps", "height", "width"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise LineaError(f"got {name}={value!r}: expected a whole number of at least 1")
        object.__setattr__(self, "seed", check_seed(self.seed))

    @property
    def timed(self) -> list[str]:
        """The parts whose ways are run."""
        return [part for part in TIMED if part in self.what or set(self.what) == {"memory"}]

    @property
    def prompts(self) -> list[str]:
        """One for each picture of the batch."""
        return list(islice(cycle(plain_captions(held_out=False)), self.batch_size))

    @property
    def sizes(self) -> dict[str, Any]:
        """Height and width for a call, those that are given."""
        given = {"height": self.height, "width": self.width}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def schedule(self) -> dict[str, Any]:
        """Steps and guidance for a call, those that are given."""
        given = {"num_inference_steps": self.steps, "guidance_scale": self.guidance}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def training(self) -> TrainingConfig:
        """Settings of the iteration that is measured."""
        given = {"target_modules": self.modules, "call_arguments": self.sizes, "seed": self.seed, **self.schedule}
        return TrainingConfig(sparsity=0.0, pairing="rows", strengths=(1.0,), **given)
