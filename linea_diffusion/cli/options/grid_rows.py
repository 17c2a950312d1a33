"""The rows of `linea grid`: the options that say what they are, and the plan that comes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import LineaError, check_seed
from ...maps.facts import Facts
from ...steering.parsing import parse_strengths

if TYPE_CHECKING:
    from ...concepts.concept import StyleTexts
    from ...grids.plans import Plan
    from ...maps.steering_maps import SteeringMaps

ROW_KINDS = ("prompts", "seeds", "styles", "sparsity", "methods")


@dataclass(frozen=True)
class Rows:
    """What --rows and its fellows ask for, and the strengths of the columns, checked."""

    rows: Annotated[
        str | None,
        typer.Option(
            help="prompts (when left out; all --steering turn together), seeds (likewise), styles (each --steering a "
            "row), sparsity (likewise, maps of one concept, labelled by their support), methods (likewise, by name)."
        ),
    ] = None
    against: Annotated[
        str | None, typer.Option(help="A second dial: rows turn these maps, columns those of --steering.")
    ] = None
    in_words: Annotated[bool, typer.Option(help="With --rows methods: a row that asks for the style in words.")] = False
    concept: Annotated[
        str | None, typer.Option(help="Concept whose texts all rows are scored against; the maps' own when left out.")
    ] = None
    strengths: Annotated[str, typer.Option(help="One column each: 0,0.5,1, or FIRST:LAST:COUNT such as 0:1:5.")] = (
        "0,0.25,0.5,0.75,1"
    )
    row_strengths: Annotated[str | None, typer.Option(help="With --against: one row each; as --strengths.")] = None
    seeds: Annotated[str | None, typer.Option(help="With --rows seeds: one row each, such as 0,1,2.")] = None

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows not in ROW_KINDS:
            raise LineaError(
                f"got --rows {self.rows}: expected one of {', '.join(ROW_KINDS)}, or --against for a second dial"
            )
        useless = {
            "--rows": self.against and self.rows,
            "--row-strengths": self.row_strengths and self.kind != "dials",
            "--seeds": self.seeds and self.kind != "seeds",
            "--in-words": self.in_words and self.kind != "methods",
        }
        for option, value in useless.items():
            if value:
                raise LineaError(f"got {option} for a grid of {self.kind}, which has no use for it: leave it out")
        _ = self.columns, self._down, self._seeds  # refused before anything is loaded

    @property
    def kind(self) -> str:
        """One of `KINDS`, or ``dials``."""
        return "dials" if self.against else self.rows or "prompts"

    @property
    def columns(self) -> list[float]:
        """The strengths of the columns."""
        return parse_strengths(self.strengths)

    @property
    def _down(self) -> list[float]:
        return parse_strengths(self.row_strengths or self.strengths)

    @property
    def _seeds(self) -> list[int]:
        try:
            seeds = [int(part) for part in (self.seeds or "").split(",") if self.seeds]
        except ValueError:
            raise LineaError(f"got --seeds {self.seeds!r}: expected whole numbers such as 0,1,2") from None
        if len(set(seeds)) != len(seeds):
            raise LineaError(f"got --seeds {self.seeds!r}: expected each once")
        return [check_seed(one, "--seeds") for one in seeds]

    @cached_property
    def texts(self) -> StyleTexts | None:
        """What --concept says to score against."""
        from ...concepts.concept import load_concept

        return load_concept(self.concept).texts if self.concept else None

    def opened(self, steering: Sequence[str]) -> dict[str, SteeringMaps]:
        """The maps of --steering by name; where they are rows, the last part of a folder is name enough."""
        return named_maps(steering, short=self.kind not in ("prompts", "seeds"))

    def plan(self, pipe: Any, maps: Mapping[str, SteeringMaps], prompts: Sequence[str], seed: int) -> Plan:
        """The grid before it is rendered.

        Raises:
            LineaError: several prompts for rows that share one, or maps that such rows have no use for.
        """
        from ...grids import kinds

        prompt, style = prompts[0], self.texts.name if self.texts else ""
        if self.kind == "styles":
            return kinds.plan_styles(pipe, prompt, self.columns, styles=maps, seed=seed)
        if self.kind == "sparsity":
            return kinds.plan_sparsity(pipe, prompt, self.columns, maps=list(maps.values()), style=style, seed=seed)
        if self.kind == "methods":
            methods = {**maps, **({"in words": None} if self.in_words else {})}
            return kinds.plan_methods(pipe, prompt, self.columns, methods=methods, style=style, seed=seed)
        if self.kind == "dials":
            return self._dials(pipe, maps, prompt, seed)
        for name, one in maps.items():
            pipe.load_steering(one, adapter_name=name)
        style = style or next((Facts.of(one.metadata).concept or "" for one in maps.values()), "")
        if self.kind == "seeds":
            seeds = self._seeds or list(range(seed, seed + 4))
            return kinds.plan_seeds(pipe, prompt, self.columns, seeds=seeds, style=style)
        return kinds.plan_prompts(pipe, prompts, self.columns, seeds=seed, style=style)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raise if there are several prompts and no row for each."""
        if self.kind != "prompts" and len(prompts) != 1:
            raise LineaError(
                f"got {len(prompts)} prompts for a grid of {self.kind}: expected one, which all rows share"
            )

    def _dials(self, pipe: Any, maps: Mapping[str, SteeringMaps], prompt: str, seed: int) -> Plan:
        from ...grids.kinds import plan_dials

        first, rows = next(iter(named_maps([str(self.against)], short=True).items()))
        second, columns = next(iter(maps.items()))
        if len(maps) != 1 or first == second:
            raise LineaError(
                f"got --against {first} and --steering {', '.join(maps)}: expected one set of maps each, under "
                "different names; give them names with NAME=FOLDER"
            )
        pipe.load_steering(rows, first)
        pipe.load_steering(columns, second)
        adapters = (first, second)
        return plan_dials(pipe, prompt, self.columns, adapters=adapters, row_strengths=self._down, seed=seed)


def named_maps(steering: Sequence[str], *, short: bool) -> dict[str, SteeringMaps]:
    """Maps by name: NAME=FOLDER, or the last part of a folder or Hub id where that is `short` and tells them apart."""
    from ...maps.steering_maps import SteeringMaps

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
