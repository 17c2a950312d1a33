"""`StyleGrid`: pictures in rows and columns, each row from one noise, labelled, scored and saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from .cells import Cell
from .errors import LineaError
from .grid_animation import save_animation
from .grid_images import save_images
from .grid_plans import (
    Plan,
    Source,
    plan_dials,
    plan_methods,
    plan_prompts,
    plan_seeds,
    plan_sparsity,
    plan_styles,
)
from .grid_records import grid_record, save_picture
from .grid_rendering import grid_facts, render_cells
from .grid_scores import Texts, curve_figures, mean_scores, score_cells, texts_for, write_csv
from .grid_sheet import ScorePlace, draw_sheet

if TYPE_CHECKING:
    import torch

    from .scoring import ClipScorer
    from .concepts import StyleTexts
    from .pipeline import LinEASDiffusionPipeline


class StyleGrid:
    """Pictures in rows and columns.

    Attributes:
        rows: the cells, row by row.
        style: what the grid is about, for titles and tables.
        kind: what rows and columns are, such as ``prompts x strengths``.
        title: above the grid.
        row_labels: one per row.
        column_labels: one per column.
        facts: what the pictures were made with, as JSON can hold it: ``model``, ``pipeline``, ``device``, ``maps``
            (adapter -> SHA-256), ``library_versions``, ``arguments``; empty for a grid that was not rendered here.
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
        **arguments: Any,
    ) -> StyleGrid:
        """Render any plan; the other ways to render a grid make one and come here.

        Args:
            pipe: a pipeline; its adapters are afterwards what they were.
            plan: from one of the functions of `linea_diffusion.grid_plans`, or made by hand.
            batch_size: pictures at once: as many whole rows as fit, and a longer row in pieces with the same noise. A
                row at once when left out.
            folder: where the pictures are written one by one; the grid then reads them when it needs them, and holds
                none in memory.
            **arguments: of the pipeline's calls, such as ``num_inference_steps`` and ``guidance_scale``.

        Raises:
            LineaError: a batch size below 1, or an argument that the grid gives itself.
        """
        cells = render_cells(pipe, plan, batch_size=batch_size, folder=Path(folder) if folder else None, **arguments)
        return cls(
            cells, style=plan.style, kind=plan.kind, title=plan.title, row_labels=[row.label for row in plan.rows],
            column_labels=plan.columns, facts=grid_facts(pipe, plan, arguments), texts=plan.texts,
        )  # fmt: skip

    @classmethod
    def render(
        cls,
        pipe: LinEASDiffusionPipeline,
        prompts: Sequence[str],
        strengths: Sequence[float],
        *,
        seeds: int | Sequence[int] = 0,
        style: str = "",
        **arguments: Any,
    ) -> StyleGrid:
        """Prompts (rows) at strengths (columns); all loaded adapters turn together.

        Args:
            pipe: a pipeline with steering loaded.
            prompts: one row each.
            strengths: one column each.
            seeds: the first seed (row i takes seed + i), or one seed per prompt.
            style: name for titles and tables.
            **arguments: ``batch_size`` and ``folder`` of `of_plan`, and those of the base pipeline.

        Raises:
            LineaError: no prompts, no strengths, or seeds that do not fit the prompts.
        """
        return cls.of_plan(pipe, plan_prompts(pipe, prompts, strengths, seeds=seeds, style=style), **arguments)

    @classmethod
    def render_seeds(
        cls,
        pipe: LinEASDiffusionPipeline,
        prompt: str,
        strengths: Sequence[float],
        *,
        seeds: Sequence[int],
        style: str = "",
        **arguments: Any,
    ) -> StyleGrid:
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
    ) -> StyleGrid:
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
    ) -> StyleGrid:
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
    ) -> StyleGrid:
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
    ) -> StyleGrid:
        """One prompt by several methods (rows) at strengths (columns); see `plan_methods` and `render`."""
        plan = plan_methods(pipe, prompt, strengths, methods=methods, style=style, seed=seed)
        return cls.of_plan(pipe, plan, **arguments)

    @property
    def cells(self) -> list[Cell]:
        """All cells, row by row."""
        return [cell for row in self.rows for cell in row]

    def score(self, scorer: ClipScorer, concept: Texts | Mapping[str, Texts] | None = None) -> StyleGrid:
        """Fill in the scores of every cell (`linea_diffusion.scores.SCORES`) and return the grid.

        What depends on the picture at strength 0 needs one of the same prompt and seed in the grid; otherwise it is
        left out.

        Args:
            scorer: for all figures.
            concept: what all rows are scored against, or style of a row -> what that row is; what the maps say when
                left out.

        Raises:
            LineaError: a row whose style has no texts.
        """
        self.embeddings = score_cells(self.rows, scorer, texts_for(self.rows, concept, self.texts))
        self.facts["scorer"] = scorer.name
        return self

    def mean_scores(self) -> list[dict[str, float]]:
        """Per column the strength and the mean of each score over the rows; NaN where no row has it."""
        return mean_scores(self.rows)

    def curve_figures(self, score: str = "clip_style") -> list[dict[str, float]]:
        """Per row `linea_diffusion.scores.CURVES` of a score over strength: how well the dial turns.

        Raises:
            LineaError: an unknown score, a grid that was not scored, or fewer than 2 different strengths.
        """
        embeddings = self.embeddings or [None] * len(self.rows)
        return [curve_figures(row, vectors, score) for row, vectors in zip(self.rows, embeddings, strict=True)]

    def save_csv(self, path: str | Path) -> None:
        """Save one line per cell: its facts and scores, whose conventions are in the header."""
        write_csv(self.rows, Path(path), (self.row_labels, self.column_labels))

    def image(
        self,
        *,
        cell_size: int = 192,
        score: str | None = None,
        score_place: ScorePlace | None = "under",
        colorbar: bool = False,
    ) -> Image.Image:
        """The grid as one RGB picture, with labels that stay legible whatever the size of the cells.

        Args:
            cell_size: the longer side of a picture, 16 to 2048 pixels.
            score: whose value is shown for each picture, a name of `linea_diffusion.scores.SCORES`; the first that the
                grid has when left out.
            score_place: ``"under"`` each picture, ``"on"`` it in a corner, or None.
            colorbar: whether a frame in the colour of the score is around each picture, and the scale below the grid.

        Raises:
            LineaError: a score that the grid does not have, an unknown place, a size out of range.
        """
        return draw_sheet(self, cell_size=cell_size, score=score, score_place=score_place, colorbar=colorbar)

    def save(self, path: str | Path, **drawing: Any) -> None:
        """Save the grid as a picture: PNG, WebP or JPEG by the ending; `read_record` tells what it was made from.

        A PNG has a text chunk each for prompts, seeds, strengths, maps' digests, model, library versions, scores and
        their conventions, and more; the others have all of it as JSON in their EXIF description.

        Args:
            path: where to.
            **drawing: of `image`.

        Raises:
            LineaError: as `image`; another ending, or a place that cannot be written.
        """
        save_picture(self.image(**drawing), Path(path), grid_record(self))

    def save_animation(
        self, path: str | Path, *, cell_size: int = 192, duration: int = 400, bounce: bool = True
    ) -> None:
        """Save an animated GIF or WebP that moves through the columns, with all rows side by side.

        Args:
            path: ending in ``.gif`` or ``.webp``.
            cell_size: the longer side of a picture in pixels.
            duration: of a frame, in milliseconds.
            bounce: whether it goes back the way it came.

        Raises:
            LineaError: another ending, fewer than two columns, or a place that cannot be written.
        """
        save_animation(self, Path(path), cell_size=cell_size, duration=duration, bounce=bounce)

    def save_images(self, folder: str | Path, *, ending: str = ".png") -> None:
        """Save every picture at full size as ``ROW-COLUMN.png``, and ``metadata.jsonl`` with a line for each.

        The layout is that of an image folder, as the library datasets reads it: ``file_name``, ``prompt``, ``seed``,
        ``strength``, ``strengths``, ``style``, ``method``, ``asked``, ``scores``.

        Args:
            folder: where to; may be the one that the grid was rendered into.
            ending: ``.png``, ``.webp`` (both lossless) or ``.jpg``.

        Raises:
            LineaError: another ending, or a place that cannot be written.
        """
        save_images(self, Path(folder), ending=ending)
