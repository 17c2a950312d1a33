"""A blind comparison: two ways to make the same pictures, and whoever chooses does not know which is which."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import LineaError, as_number, as_whole, short
from ..grids.report.inline_images import data_uri, is_small
from .scenes import Scene
from .workbench import Workbench

CHOICES = ("left", "right", "neither")
IN_WORDS = ", in words"
"""Behind the name of a style that is asked for in words."""
FILE = "choices.csv"
MOST = 1000
"""Pairs of one comparison."""
COLUMNS = ("time", "study", "prompt", "seed", "left", "right", "choice", "chosen")


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        name: what it is called when the comparison is over, and in the file.
        strengths: style -> strength.
        words: what is put behind the prompt, if the style is asked for in words.
    """

    name: str
    strengths: tuple[tuple[str, float], ...] = ()
    words: str = ""

    def scene(self, prompt: str, seed: int) -> Scene:
        """Its picture of a prompt."""
        return Scene(f"{prompt}, {self.words}" if self.words else prompt, seed, self.strengths)


@dataclass
class Study:
    """Pairs of pictures and what was chosen.

    Attributes:
        sides: the two.
        prompts: what of; each is a pair for every seed.
        seeds: of the noises.
        file: a CSV, to which each choice is added at once.
        chosen: names of the sides that were chosen so far, empty where neither was.

    Raises:
        LineaError: no prompts, or two sides that are the same.
    """

    sides: tuple[Side, Side]
    prompts: Sequence[str]
    seeds: Sequence[int]
    file: Path
    order_seed: int | None = None
    chosen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        first, second = self.sides
        if not (self.prompts and self.seeds):
            raise LineaError("got nothing to compare: expected at least one prompt")
        if (first.strengths, first.words) == (second.strengths, second.words):
            raise LineaError(f"got {first.name} against itself: expected two that differ")
        self.began = datetime.now(UTC).isoformat(timespec="seconds")
        rng = random.Random(self.order_seed)
        self.pairs = [(prompt, seed) for seed in self.seeds for prompt in self.prompts]
        rng.shuffle(self.pairs)
        # each side is on the left equally often
        turned = [bool(i % 2) for i in range(len(self.pairs))]
        rng.shuffle(turned)
        self._turned = turned

    @property
    def is_over(self) -> bool:
        """Whether all pairs were judged."""
        return len(self.chosen) == len(self.pairs)

    @property
    def shown(self) -> tuple[Side, Side]:
        """Which side is on the left, and which on the right, of the present pair."""
        first, second = self.sides
        return (second, first) if self._turned[len(self.chosen)] else (first, second)

    @property
    def scenes(self) -> tuple[Scene, Scene]:
        """The present pair, left and right."""
        prompt, seed = self.pairs[len(self.chosen)]
        left, right = self.shown
        return left.scene(prompt, seed), right.scene(prompt, seed)

    def choose(self, choice: str) -> None:
        """Write the choice down, and go on to the next pair.

        Raises:
            LineaError: none of `CHOICES`, all pairs were judged, or the file cannot be written.
        """
        if choice not in CHOICES or self.is_over:
            raise LineaError(f"got choice {choice!r}: expected one of {', '.join(CHOICES)} for a pair that is shown")
        (left, right), (prompt, seed) = self.shown, self.pairs[len(self.chosen)]
        chosen = {"left": left.name, "right": right.name}.get(choice, "")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = (now, self.began, prompt, seed, left.name, right.name, choice, chosen)
        try:
            is_new = not self.file.exists()
            with self.file.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([COLUMNS, row] if is_new else [row])
        except OSError as error:
            raise LineaError(f"got {str(self.file)!r}: expected a file that can be written ({error})") from None
        self.chosen.append(chosen)

    @property
    def result(self) -> str:
        """Who was chosen how often, with the interval in which the share lies with 95 % confidence (Wilson)."""
        first, second = (side.name for side in self.sides)
        wins, losses = self.chosen.count(first), self.chosen.count(second)
        neither = len(self.chosen) - wins - losses
        told = f"{first} was chosen {wins} times, {second} {losses} times, neither {neither} times"
        if not wins + losses:
            return told
        low, high = wilson(wins, wins + losses)
        share = wins / (wins + losses)
        return f"{told}: {share:.0%} for {first} where one was chosen (95 % interval {low:.0%} to {high:.0%})"


def wilson(count: int, total: int) -> tuple[float, float]:
    """Interval of a share with 95 % confidence (Wilson 1927).

    Args:
        count: how often it was.
        total: of how many, above 0.
    """
    z, share = 1.959964, count / total
    centre, half = share + z**2 / (2 * total), z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return max(0.0, (centre - half) / (1 + z**2 / total)), min(1.0, (centre + half) / (1 + z**2 / total))


def study_of(bench: Workbench, sides: Sequence[tuple[Any, Any]], prompts: Sequence[str], seeds: Any) -> Study:
    """A comparison of two of a window's styles, whose choices go to ``choices.csv`` in the page's folder.

    Args:
        bench: the window's.
        sides: (what, strength) of each: the name of a style, or with `IN_WORDS` behind it.
        prompts: what of.
        seeds: how many noises for each.

    Raises:
        LineaError: no such styles, no prompts, or too many pairs.
    """
    count = as_whole(seeds) or 0
    if not 0 < count * len(prompts) <= MOST:
        raise LineaError(f"got {len(prompts)} prompts and {short(seeds)} pairs for each: expected 1 to {MOST} pairs")
    first, second = (_side(bench, *side) for side in sides)
    seeds = range(bench.scene.seed, bench.scene.seed + count)
    return Study((first, second), prompts, list(seeds), bench.model.folder / FILE)


def _side(bench: Workbench, what: Any, strength: Any) -> Side:
    words = str(what or "").removesuffix(IN_WORDS)
    style = bench.pipe.steering.find(words)
    if what.endswith(IN_WORDS):
        return Side(what, words=style)
    number = as_number(strength)
    if number is None:
        raise LineaError(f"got strength {short(strength)} of {style}: expected a number")
    return Side(f"{style} {number:g}", ((style, number),))


def study_value(bench: Workbench) -> dict[str, Any]:
    """The pair that is to be judged, as the page understands it, or what came out."""
    study: Study = bench.study
    bench.halt.begin()
    if study.is_over:
        return {"status": f"{study.result}; all choices are in {study.file}"}
    scenes = study.scenes
    left, right = bench.render(scenes)
    prompt, _ = study.pairs[len(study.chosen)]
    return {
        "number": len(study.chosen), "total": len(study.pairs), "prompt": prompt, "small": is_small(left),
        "left": data_uri(left)[0], "right": data_uri(right)[0],
    }  # fmt: skip
