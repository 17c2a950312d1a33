"""What steering costs on this machine with this model: ways of one job, timed in turns, and their peak memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import LineaError, reason
from ...pipelines.calling import accepts, frozen
from ...pipelines.pipeline import LinEASDiffusionPipeline
from .config import PARTS, TIMED, BenchConfig
from .machine import machine_facts, peak_growth, release, wait_for
from .ways import Way, calls_of, maps_in, ways_of

__all__ = ["PARTS", "TIMED", "Bench", "BenchConfig", "Row", "bench", "machine_facts"]

Track = Callable[[range], Iterable[int]]
Lap = tuple[int, str, str, float]


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
            ways = ways_of(pipe, config)
            notes = [_warm_up(way, pipe.device) for way in ways]
            able = [way for way, note in zip(ways, notes, strict=True) if not note]
            _refuse_missing(ways, able)
            rounds = range(0 if set(config.what) == {"memory"} else config.rounds)
            laps = timed(able, track(rounds), pipe.device)
            peaks = peaks_of(able if "memory" in config.what else [], pipe.device)
            maps = _described(pipe)
    except (ValueError, torch.OutOfMemoryError) as error:
        raise _refused(error, pipe) from None
    firsts = {way.part: way.name for way in reversed(ways)}
    rows = [_row(way, firsts[way.part], laps, peaks.get(way.name), note) for way, note in zip(ways, notes, strict=True)]
    order = tuple(lap[:3] for lap in laps)
    return Bench(config, machine_facts(pipe.device), calls_of(pipe, config), maps, order, tuple(rows))


def timed(ways: Sequence[Way], rounds: Iterable[int], device: torch.device) -> list[Lap]:
    """(round, part, way, seconds) in the order of time; only the job itself is timed, to its end on the device."""
    laps = []
    for number in rounds:
        for way in ways if number % 2 == 0 else reversed(ways):
            with way.ready() as job:
                laps.append((number, way.part, way.name, _seconds(job, device)))
    return laps


def peaks_of(ways: Sequence[Way], device: torch.device) -> dict[str, float | None]:
    """Way -> peak memory of its job in MiB, see `peak_growth`."""
    peaks = {}
    gc.freeze()  # what is there already is no garbage, and takes long to look through
    try:
        for way in ways:
            with way.ready() as job:
                peaks[way.name] = peak_growth(job, device)
    finally:
        gc.unfreeze()
    return peaks


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


def _warm_up(way: Way, device: torch.device) -> str:
    """Run a way once; what is in the way, in words."""
    if way.refusal:
        return way.refusal
    try:
        with way.ready() as job:
            _seconds(job, device)
    except torch.OutOfMemoryError:
        pass
    else:
        return ""
    release(device)
    return "does not fit into memory"


def _seconds(job: Callable[[], Any], device: torch.device) -> float:
    wait_for(device)
    began = time.perf_counter()
    job()
    wait_for(device)
    return time.perf_counter() - began


def _row(way: Way, first: str, laps: Sequence[Lap], peak_mib: float | None, note: str) -> Row:
    part = [lap for lap in laps if lap[1] == way.part]
    own = {number: seconds for number, _, name, seconds in part if name == way.name}
    if not own:
        return Row(way.part, way.name, peak_mib=peak_mib, note=note)
    base = {number: seconds for number, _, name, seconds in part if name == first}
    ratios = torch.tensor([own[number] / base[number] for number in sorted(own)], dtype=torch.float64)
    low, ratio, high = ratios.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    return Row(way.part, way.name, tuple(own[number] for number in sorted(own)), ratio, low, high, peak_mib, note)


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
