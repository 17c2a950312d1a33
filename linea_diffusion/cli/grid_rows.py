"""The rows of `linea grid`: which options say what they are, and the plan that comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LineaError, check_seed
from ..maps.facts import Facts
from . import checks

if TYPE_CHECKING:
    from ..grids.plans import Plan
    from ..maps.steering_maps import SteeringMaps

KINDS = ("prompts", "seeds", "styles", "sparsity", "methods")


@dataclass(frozen=True)
class Rows:
    """What --rows and its fellows ask for, checked."""

    rows: str | None
    against: str | None
    row_strengths: str | None
    seeds: str | None
    in_words: bool

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows not in KINDS:
            raise LineaError(
                f"got --rows {self.rows}: expected one of {', '.join(KINDS)}, or --against for a second dial"
            )
        useless = {
            "--rows": self.against and self.rows,
            "--row-strengths": self.row_strengths and self.kind != "dials",
            "--seeds": self.seeds and self.kind != "seeds",
            "--in-words": self.in_words and self.kind != "methods",
        }
        for option, given in useless.items():
            if given:
                raise LineaError(f"got {option} for a grid of {self.kind}, which has no use for it: leave it out")
        if self.row_strengths:
            checks.strengths(self.row_strengths)
        if self.seeds:
            _seeds(self.seeds)

    @property
    def kind(self) -> str:
        """One of `KINDS`, or ``dials``."""
        return "dials" if self.against else self.rows or "prompts"

    def plan(
        self,
        pipe: Any,
        maps: dict[str, SteeringMaps],
        prompts: list[str],
        strengths: list[float],
        *,
        seed: int,
        style: str,
    ) -> Plan:
        """The grid before it is rendered."""
        from ..grids import kinds

        prompt = prompts[0]
        if self.kind == "styles":
            return kinds.plan_styles(pipe, prompt, strengths, styles=maps, seed=seed)
        if self.kind == "sparsity":
            return kinds.plan_sparsity(pipe, prompt, strengths, maps=list(maps.values()), style=style, seed=seed)
        if self.kind == "methods":
            methods = {**maps, **({"in words": None} if self.in_words else {})}
            return kinds.plan_methods(pipe, prompt, strengths, methods=methods, style=style, seed=seed)
        if self.kind == "dials":
            return self._dials(pipe, maps, prompt, strengths, seed)
        for name, own in maps.items():
            pipe.load_steering(own, adapter_name=name)
        style = style or next((Facts.of(own.metadata).concept or "" for own in maps.values()), "")
        if self.kind == "seeds":
            chosen = _seeds(self.seeds) if self.seeds else list(range(seed, seed + 4))
            return kinds.plan_seeds(pipe, prompt, strengths, seeds=chosen, style=style)
        return kinds.plan_prompts(pipe, prompts, strengths, seeds=seed, style=style)

    def _dials(self, pipe: Any, maps: dict[str, SteeringMaps], prompt: str, strengths: list[float], seed: int) -> Plan:
        from ..grids.kinds import plan_dials

        first, rows = next(iter(named_maps([str(self.against)], short=True).items()))
        second, columns = next(iter(maps.items()))
        if len(maps) != 1 or first == second:
            raise LineaError(
                f"got --against {first} and --steering {', '.join(maps)}: expected one set of maps each, under "
                "different names; give them names with NAME=FOLDER"
            )
        pipe.load_steering(rows, first)
        pipe.load_steering(columns, second)
        positions = checks.strengths(self.row_strengths) if self.row_strengths else None
        return plan_dials(pipe, prompt, strengths, adapters=(first, second), row_strengths=positions, seed=seed)


def named_maps(steering: list[str], *, short: bool) -> dict[str, SteeringMaps]:
    """Maps by name: NAME=FOLDER, or the last part of a folder or Hub id where that is `short` and tells them apart."""
    from ..maps.steering_maps import SteeringMaps

    pairs = [_pair(source) for source in steering]
    labels = [name or Path(source).name or source for name, source in pairs]
    if not short or len(set(labels)) != len(labels):
        labels = [name or source for name, source in pairs]
    if len(set(labels)) != len(labels):
        raise LineaError(f"got --steering {', '.join(labels)}: expected different maps, or names with NAME=FOLDER")
    return {label: SteeringMaps.from_pretrained(source) for label, (_, source) in zip(labels, pairs, strict=True)}


def _pair(source: str) -> tuple[str, str]:
    name, equals, rest = source.partition("=")
    return (name, rest) if equals and not Path(source).exists() else ("", source)


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise LineaError(f"got --seeds {text!r}: expected whole numbers such as 0,1,2") from None
    if len(set(seeds)) != len(seeds):
        raise LineaError(f"got --seeds {text!r}: expected each once")
    return [check_seed(one, "--seeds") for one in seeds]
