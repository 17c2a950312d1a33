"""Ways to steer that are compared: a method with the maps of one training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import LineaError, check_seed, short
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps

MapsOfSeed = Callable[[int], SteeringMaps | None]
"""The maps of a method by the seed of their training."""

Methods = Mapping[str, SteeringMaps | MapsOfSeed | None]
"""Name -> maps, maps by training seed, or None for asking in words."""


@dataclass(frozen=True)
class Way:
    """A method with the maps of one training.

    Attributes:
        method: its name.
        maps: that steer; None asks in words.
        training_seed: of the maps, if they say it.
    """

    method: str
    maps: SteeringMaps | None
    training_seed: int | None = None


def ways_of(methods: Methods, seeds: Sequence[int]) -> list[Way]:
    """Each method once, and one that trains once for each seed.

    Raises:
        LineaError: no seed, a seed twice, or several without a method that trains.
    """
    seeds = [check_seed(seed) for seed in seeds]
    trained = any(callable(maps) for maps in methods.values())
    if not seeds or len(set(seeds)) < len(seeds) or (len(seeds) > 1 and not trained):
        raise LineaError(
            f"got training seeds {short(seeds)}: expected some, each once, and for several a method that is a function "
            "of the seed, such as lambda seed: train_steering_maps(...)"
        )
    return [way for name, maps in methods.items() for way in _of_method(name, maps, seeds)]


def _of_method(name: str, maps: SteeringMaps | MapsOfSeed | None, seeds: Sequence[int]) -> Iterator[Way]:
    if maps is None:
        yield Way(name, None)
    elif isinstance(maps, SteeringMaps):
        yield Way(name, maps, training_seed_of(maps))
    else:
        for seed in seeds:
            yield Way(name, maps(seed), seed)


def training_seed_of(maps: SteeringMaps) -> int | None:
    """The seed that maps were trained with, if they say it."""
    return (Facts.of(maps.metadata).training or {}).get("seed")
