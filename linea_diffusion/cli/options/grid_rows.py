"""The rows of `linea grid`: the options that say what they are, and the plan that comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import LineaError, check_seed
from ...maps.facts import Facts
from ...steering.parsing import parse_seeds, parse_strengths
from .steering import Steered, open_maps, strength_option

if TYPE_CHECKING:
    from ...grids.plans import Plan

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
    strengths: Annotated[str, strength_option("One column each")] = "0,0.25,0.5,0.75,1"
    row_strengths: Annotated[
        str | None,
        typer.Option(
            "--row-strength", "--row-strengths", help="With --against: one row each, as --strength's numbers."
        ),
    ] = None
    seeds: Annotated[str | None, typer.Option(help="With --rows seeds: one row each, such as 0,1,2.")] = None

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows not in ROW_KINDS:
            raise LineaError(
                f"got --rows {self.rows}: expected one of {', '.join(ROW_KINDS)}, or --against for a second dial"
            )
        useless = {
            "--rows": self.against and self.rows,
            "--row-strength": self.row_strengths and self.kind != "dials",
            "--seeds": self.seeds and self.kind != "seeds",
            "--in-words": self.in_words and self.kind != "methods",
        }
        for option, value in useless.items():
            if value:
                raise LineaError(f"got {option} for a grid of {self.kind}, which has no use for it: leave it out")
        if "=" in self.strengths and self.kind not in ("prompts", "seeds"):
            raise LineaError(
                f"got --strength {self.strengths} for a grid of {self.kind}, whose rows turn one style each: expected "
                "numbers without names"
            )
        _ = self._down, self._seeds  # refused before anything is loaded

    @property
    def kind(self) -> str:
        """One of `KINDS`, or ``dials``."""
        return "dials" if self.against else self.rows or "prompts"

    @property
    def _down(self) -> list[float]:
        return parse_strengths(self.row_strengths or self.strengths) if self.kind == "dials" else []

    @property
    def _seeds(self) -> list[int]:
        seeds = parse_seeds(self.seeds) if self.seeds else []
        if len(set(seeds)) != len(seeds):
            raise LineaError(f"got --seeds {self.seeds!r}: expected each once")
        return [check_seed(one, "--seeds") for one in seeds]

    @property
    def loads(self) -> bool:
        """Whether the maps of --steering are loaded; other rows bring them along, one set each."""
        return self.kind in ("prompts", "seeds", "dials")

    def plan(self, pipe: Any, steered: Steered, prompts: Sequence[str], seed: int, style: str = "") -> Plan:
        """The grid before it is rendered.

        Args:
            pipe: with the maps of --steering, where they are loaded.
            steered: those maps.
            prompts: one for each row, or one.
            seed: of the noise.
            style: that all rows are scored against; the concept of the maps when left out.

        Raises:
            LineaError: several prompts for rows that share one, or maps that such rows have no use for.
        """
        from ...grids import kinds

        maps, prompt = steered.maps, prompts[0]
        style = style or next((Facts.of(one.metadata).concept or "" for one in maps.values()), "")
        if self.kind == "prompts":
            return kinds.plan_prompts(pipe, prompts, steered.dials(self.strengths), seeds=seed, style=style)
        if self.kind == "seeds":
            seeds = self._seeds or list(range(seed, seed + 4))
            return kinds.plan_seeds(pipe, prompt, steered.dials(self.strengths), seeds=seeds, style=style)
        columns = parse_strengths(self.strengths)
        if self.kind == "dials":
            return self._dials(pipe, steered, prompt, columns, seed)
        if self.kind == "styles":
            return kinds.plan_styles(pipe, prompt, columns, styles=maps, seed=seed)
        if self.kind == "sparsity":
            return kinds.plan_sparsity(pipe, prompt, columns, maps=list(maps.values()), style=style, seed=seed)
        methods = {**maps, **({"in words": None} if self.in_words else {})}
        return kinds.plan_methods(pipe, prompt, columns, methods=methods, style=style, seed=seed)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raise if there are several prompts and no row for each."""
        if self.kind != "prompts" and len(prompts) != 1:
            raise LineaError(
                f"got {len(prompts)} prompts for a grid of {self.kind}: expected one, which all rows share"
            )

    def _dials(self, pipe: Any, steered: Steered, prompt: str, columns: Sequence[float], seed: int) -> Plan:
        from ...grids.kinds import plan_dials

        first, (_, rows) = next(iter(open_maps([str(self.against)], steered.base()).items()))
        second = next(iter(steered.maps))
        if len(steered.maps) != 1 or first == second:
            raise LineaError(
                f"got --against {first} and --steering {', '.join(steered.maps)}: expected one set of maps each, under "
                "different names; give them names with NAME=FOLDER"
            )
        pipe.load_steering(rows, first)
        adapters = (first, second)
        return plan_dials(pipe, prompt, columns, adapters=adapters, row_strengths=self._down, seed=seed)
