"""Grids of pictures in rows and columns, each row from one noise, and the ways to render them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..concepts.concept import StyleTexts
from ..errors import LineaError
from ..steering.dial import word_for
from .kinds import Columns, Source, plan_dials, plan_methods, plan_prompts, plan_seeds, plan_sparsity, plan_styles
from .plan_rendering import grid_facts, render_cells
from .plans import Cell, Plan

if TYPE_CHECKING:
    import torch

    from ..pipelines.pipeline import LinEASDiffusionPipeline


class RenderedGrid:
    """Pictures in rows and columns.

    Attributes:
        rows: the cells, row by row.
        style: what the grid is about, for titles and tables.
        kind: what rows and columns are, such as ``prompts x strengths``.
        title: above the grid.
        row_labels: one per row.
        column_labels: one per column.
        facts: what the pictures were made with, as JSON can hold it: ``model``, ``pipeline``, ``device``, ``maps``
            (adapter -> SHA-256), ``dials`` (adapter -> how its strengths were read), ``library_versions``,
            ``arguments``; empty for a grid that was not rendered here.
        texts: style of a row -> what its pictures are scored against, where the maps say it.
        embeddings: of the pictures by the scorer, (columns, e) for each row, unit length; empty until scored.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[Cell]],
        *,
        style: str,
        kind: str = "prompts x strengths",
        title: str | None = None,
        row_labels: Sequence[str] | None = None,
        column_labels: Sequence[str] | None = None,
        facts: Mapping[str, Any] | None = None,
        texts: Mapping[str, StyleTexts] | None = None,
    ) -> None:
        if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
            raise LineaError(f"got grid rows of lengths {[len(row) for row in rows]}: expected equal lengths above 0")
        self.rows = [list(row) for row in rows]
        self.style, self.kind = style, kind
        self.title = style if title is None else title
        self.row_labels = [row[0].prompt for row in rows] if row_labels is None else list(row_labels)
        self.column_labels = (
            [f"{cell.strength:.3g}" for cell in rows[0]] if column_labels is None else list(column_labels)
        )
        if (len(self.row_labels), len(self.column_labels)) != (len(rows), len(rows[0])):
            raise LineaError(
                f"got {len(self.row_labels)} row labels and {len(self.column_labels)} column labels: expected "
                f"{len(rows)} and {len(rows[0])}"
            )
        self.facts, self.texts = dict(facts or {}), dict(texts or {})
        self.embeddings: list[torch.Tensor] = []

    @classmethod
    def of_plan(
        cls,
        pipe: LinEASDiffusionPipeline,
        plan: Plan,
        *,
        batch_size: int | None = None,
        folder: str | Path | None = None,
        calibrated: bool | None = None,
        **arguments: Any,
    ) -> Self:
        """Render any plan; the other ways to render a grid make one and come here.

        Args:
            pipe: a pipeline; its adapters are afterwards what they were.
            plan: from one of the functions of `linea_diffusion.grids.kinds`, or made by hand.
            batch_size: pictures at once: as many whole rows as fit, and a longer row in pieces with the same noise. A
                row at once when left out.
            folder: where the pictures are written one by one; the grid then reads them when it needs them, and holds
                none in memory.
            calibrated: how strengths are read, as for a call of the pipeline; `facts` say how they were.
            **arguments: of the pipeline's calls, such as ``num_inference_steps`` and ``guidance_scale``.

        Raises:
            LineaError: a batch size below 1, an argument that the grid gives itself, or ``calibrated=True`` with maps
                that never were.
        """
        place = Path(folder) if folder else None
        facts = grid_facts(pipe, plan, arguments, calibrated=calibrated)
        cells = render_cells(pipe, plan, batch_size=batch_size, folder=place, calibrated=calibrated, **arguments)
        return cls(
            cells, style=plan.style, kind=plan.kind, title=plan.title, row_labels=[row.label for row in plan.rows],
            column_labels=plan.columns, facts=facts, texts=plan.texts,
        )  # fmt: skip

    @classmethod
    def render(
        cls,
        pipe: LinEASDiffusionPipeline,
        prompts: Sequence[str],
        strengths: Columns,
        *,
        seeds: int | Sequence[int] = 0,
        style: str = "",
        **arguments: Any,
    ) -> Self:
        """Prompts (rows) at strengths (columns); all loaded adapters turn together.

        Args:
            pipe: a pipeline with steering loaded.
            prompts: one row each.
            strengths: one column each: a number for all adapters, or a dict {adapter: strength}.
            seeds: the first seed (row i takes seed + i), or one seed per prompt.
            style: name for titles and tables.
            **arguments: ``batch_size``, ``folder`` and ``calibrated`` of `of_plan`, and those of the base pipeline.

        Raises:
            LineaError: no prompts, no strengths, or seeds that do not fit the prompts.
        """
        return cls.of_plan(pipe, plan_prompts(pipe, prompts, strengths, seeds=seeds, style=style), **arguments)

    @classmethod
    def render_seeds(
        cls,
        pipe: LinEASDiffusionPipeline,
        prompt: str,
        strengths: Columns,
        *,
        seeds: Sequence[int],
        style: str = "",
        **arguments: Any,
    ) -> Self:
        """One prompt from several noises (rows) at strengths (columns); see `plan_seeds` and `render`."""
        return cls.of_plan(pipe, plan_seeds(pipe, prompt, strengths, seeds=seeds, style=style), **arguments)

    @classmethod
    def render_styles(
        cls,
        pipe: LinEASDiffusionPipeline,
        prompt: str,
        strengths: Sequence[float],
        *,
        styles: Mapping[str, Source] | Sequence[str] | None = None,
        seed: int = 0,
        **arguments: Any,
    ) -> Self:
        """One prompt in several styles (rows) at strengths (columns); see `plan_styles` and `render`."""
        return cls.of_plan(pipe, plan_styles(pipe, prompt, strengths, styles=styles, seed=seed), **arguments)

    @classmethod
    def render_dials(
        cls,
        pipe: LinEASDiffusionPipeline,
        prompt: str,
        strengths: Sequence[float],
        *,
        adapters: tuple[str, str] | None = None,
        row_strengths: Sequence[float] | None = None,
        seed: int = 0,
        **arguments: Any,
    ) -> Self:
        """One prompt with two dials, style A (rows) x style B (columns); see `plan_dials` and `render`."""
        plan = plan_dials(pipe, prompt, strengths, adapters=adapters, row_strengths=row_strengths, seed=seed)
        return cls.of_plan(pipe, plan, **arguments)

    @classmethod
    def render_sparsity(
        cls,
        pipe: LinEASDiffusionPipeline,
        prompt: str,
        strengths: Sequence[float],
        *,
        maps: Mapping[str, Source] | Sequence[Source],
        style: str = "",
        seed: int = 0,
        **arguments: Any,
    ) -> Self:
        """One prompt by maps of several sparsities (rows) at strengths (columns); see `plan_sparsity` and `render`."""
        return cls.of_plan(pipe, plan_sparsity(pipe, prompt, strengths, maps=maps, style=style, seed=seed), **arguments)

    @classmethod
    def render_methods(
        cls,
        pipe: LinEASDiffusionPipeline,
        prompt: str,
        strengths: Sequence[float],
        *,
        methods: Mapping[str, Source | None],
        style: str = "",
        seed: int = 0,
        **arguments: Any,
    ) -> Self:
        """One prompt by several methods (rows) at strengths (columns); see `plan_methods` and `render`."""
        plan = plan_methods(pipe, prompt, strengths, methods=methods, style=style, seed=seed)
        return cls.of_plan(pipe, plan, **arguments)

    @property
    def dials(self) -> list[str]:
        """The two adapters that act on every picture where rows turn one and columns another; none in other grids."""
        return [] if self.kind.endswith("strengths") else list(self.rows[0][0].strengths)

    @property
    def strength_name(self) -> str:
        """What captions call a strength: ``"calibrated strength"`` where all adapters turn on calibrated dials."""
        return word_for(list(self.facts.get("dials", {}).values()))

    @property
    def cells(self) -> list[Cell]:
        """All cells, row by row."""
        return [cell for row in self.rows for cell in row]
