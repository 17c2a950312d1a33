"""What steering costs on this machine with this model: what is asked for, measured, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch

from ...errors import LineaError, check_seed, reason
from ...pipelines.calling import frozen
from ...pipelines.modular import accepts
from ...pipelines.pipeline import LinEASDiffusionPipeline
from ...shapeland.captions import plain_captions
from ...training.config import TrainingConfig
from ..options.sessions import without_none
from .machine import Lap, machine_facts, peaks_of, timed, warm_up
from .ways import Way, calls_of, maps_in, ways_of

TIMED = ("generation", "row", "training")
BENCH_PARTS = (*TIMED, "memory")
Track = Callable[[range], Iterable[int]]


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

    what: tuple[str, ...] = BENCH_PARTS
    batch_size: int = 8
    rounds: int = 15
    steps: int | None = None
    guidance: float | None = None
    height: int | None = None
    width: int | None = None
    modules: tuple[str, ...] = ("attention",)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.what or any(part not in BENCH_PARTS for part in self.what):
            raise LineaError(f"got what={','.join(self.what)!r}: expected some of {', '.join(BENCH_PARTS)}")
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
        return without_none(height=self.height, width=self.width)

    @property
    def schedule(self) -> dict[str, Any]:
        """Steps and guidance for a call, those that are given."""
        return without_none(num_inference_steps=self.steps, guidance_scale=self.guidance)

    @property
    def training(self) -> TrainingConfig:
        """Settings of the iteration that is measured."""
        settings = {"target_modules": self.modules, "call_arguments": self.sizes, "seed": self.seed, **self.schedule}
        return TrainingConfig(batch_size=None, sparsity=0.0, pairing="rows", strengths=(1.0,), **settings)


@dataclass(frozen=True)
class Row:
    """What was measured of one way.

    Attributes:
        part: one of `TIMED`.
        name: of the way.
        seconds: one for each round.
        ratio: median over rounds of its time by that of the part's first way in the same round.
        low: the quartile below, 25%.
        high: the quartile above, 75%.
        peak_mib: MiB beyond what was taken before; None where it was not, or cannot be, measured.
        note: why it did not run, if it did not.
    """

    part: str
    name: str
    seconds: tuple[float, ...] = ()
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    peak_mib: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """A whole measurement.

    Attributes:
        config: what was asked for.
        machine: facts of `machine_facts`.
        calls: part -> arguments of its calls, "training" for iterations and "pictures" for the others.
        maps: what steered, in words.
        order: (round, part, way), as they were timed.
        rows: one for each way; those of a part begin with what the others are compared with.
    """

    config: BenchConfig
    machine: dict[str, str | int]
    calls: dict[str, dict[str, Any]]
    maps: str
    order: tuple[tuple[int, str, str], ...]
    rows: tuple[Row, ...]


def bench(pipe: LinEASDiffusionPipeline, config: BenchConfig, *, track: Track = iter) -> Bench:
    """Time every way in turns, after one round that does not count; then take the peak memory of each.

    Every other round goes through the ways backwards, so that none profits from its place.

    Args:
        pipe: with maps loaded; where there are none, dense random maps take their place.
        config: what and how often.
        track: goes through the rounds, such as a progress bar.

    Raises:
        LineaError: modules that are not there, a call that the pipeline refuses, or no memory for a part's first way.
    """
    _check_arguments(pipe, config)
    try:
        with frozen(pipe.base), maps_in(pipe, config):
            rounds = range(0 if set(config.what) == {"memory"} else config.rounds)
            laps, rows = measured(ways_of(pipe, config), pipe.device, track(rounds), memory="memory" in config.what)
            maps = _described(pipe)
    except (ValueError, torch.OutOfMemoryError) as error:
        raise _refused(error, pipe) from None
    order = tuple(lap[:3] for lap in laps)
    return Bench(config, machine_facts(pipe.device), calls_of(pipe, config), maps, order, tuple(rows))


def measured(
    ways: Sequence[Way], device: torch.device, rounds: Iterable[int], *, memory: bool
) -> tuple[list[Lap], list[Row]]:
    """Ways timed in turns after one round that does not count, and their peak memory if it is asked for.

    Returns:
        The laps in the order of time, and what they come to, a row for each way.

    Raises:
        LineaError: no memory for a part's first way.
    """
    notes = [warm_up(way, device) for way in ways]
    able = [way for way, note in zip(ways, notes, strict=True) if not note]
    _refuse_missing(ways, able)
    laps = timed(able, rounds, device)
    peaks = peaks_of(able if memory else [], device)
    firsts = {way.part: way.name for way in reversed(ways)}
    rows = [_row(way, firsts[way.part], laps, peaks.get(way.name), note) for way, note in zip(ways, notes, strict=True)]
    return laps, rows


def _refuse_missing(ways: Sequence[Way], able: Sequence[Way]) -> None:
    """Raise if a part lacks the way that its others are compared with.

    Raises:
        LineaError: it did not fit into memory.
    """
    for part in dict.fromkeys(way.part for way in ways):
        first = next(way for way in ways if way.part == part)
        if first not in able:
            raise LineaError(f"got {part} {first.name!r}, which does not fit into memory: lower --batch-size or sizes")


def _check_arguments(pipe: LinEASDiffusionPipeline, config: BenchConfig) -> None:
    for name in (*config.sizes, *config.schedule):
        if not accepts(pipe.base, name):
            raise LineaError(f"got {name}, which {type(pipe.base).__name__} has no use for: leave it out")


def _row(way: Way, first: str, laps: Sequence[Lap], peak_mib: float | None, note: str) -> Row:
    part = [lap for lap in laps if lap[1] == way.part]
    seconds, base = (
        {number: taken for number, _, name, taken in part if name == wanted} for wanted in (way.name, first)
    )
    if not seconds:
        return Row(way.part, way.name, peak_mib=peak_mib, note=note)
    ordered = {number: seconds[number] for number in sorted(seconds)}
    ratios = torch.tensor([taken / base[number] for number, taken in ordered.items()], dtype=torch.float64)
    low, ratio, high = ratios.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    return Row(way.part, way.name, tuple(ordered.values()), ratio, low, high, peak_mib, note)


def _described(pipe: LinEASDiffusionPipeline) -> str:
    counts = {name: sum(1 for _ in maps.acting()) for name, maps in pipe.steering.items()}
    return ", ".join(f"{name} ({count} maps)" for name, count in counts.items())


def _refused(error: Exception, pipe: LinEASDiffusionPipeline) -> LineaError:
    """The error for a user."""
    if isinstance(error, LineaError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        return LineaError("got a batch that does not fit into memory: expected a smaller --batch-size or picture")
    name = type(pipe.base).__name__
    return LineaError(f"got a call that {name} refuses ({reason(error)}): expected other sizes, steps or guidance")
