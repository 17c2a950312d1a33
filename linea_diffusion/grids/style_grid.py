"""`StyleGrid`: pictures in rows and columns, each row from one noise, labelled, scored and saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..scoring.images.saving import save
from .animation import save_animation
from .grid_scores import Texts, curve_figures, mean_scores, score_cells, texts_for, write_cells
from .image_folder import grid_record, save_images
from .rendered import RenderedGrid
from .sheet import ScorePlace, draw_sheet

if TYPE_CHECKING:
    import torch

    from ..scoring.clip_scorer import ClipScorer


class StyleGrid(RenderedGrid):
    """Pictures in rows and columns, with their scores: made by one of the ``render`` methods, or from cells.

    Attributes and ways to render: `RenderedGrid`.
    """

    def score(self, scorer: ClipScorer, concept: Texts | Mapping[str, Texts] | None = None) -> StyleGrid:
        """Fill in the scores of every cell (`linea_diffusion.scoring.figures.SCORES`) and return the grid.

        What depends on the picture at strength 0 needs one of the same prompt and seed in the grid; otherwise it is
        left out. Pictures of two dials are scored for both styles, each under its own name, as
        ``clip_style_cosine_neon``, unless one concept is given.

        Args:
            scorer: for all figures.
            concept: what all rows are scored against, or style of a row -> what that row is; what the maps say when
                left out.

        Raises:
            LineaError: a row whose style has no texts.
        """
        self.embeddings = score_cells(self.rows, scorer, texts_for(self.rows, concept, self.texts, self.dials))
        self.facts["scorer"] = scorer.name
        return self

    def mean_scores(self) -> list[dict[str, float]]:
        """Per column the strength and the mean of each score over the rows; NaN where no row has it."""
        return mean_scores(self.rows)

    def curve_figures(self, score: str = "clip_style_cosine") -> list[dict[str, float]]:
        """Per row `linea_diffusion.scoring.figures.CURVES` of a score over strength: how well the dial turns.

        Raises:
            LineaError: an unknown score, a grid that was not scored, or fewer than 2 different strengths.
        """
        embeddings: list[torch.Tensor | None] = list(self.embeddings) or [None] * len(self.rows)
        return [curve_figures(row, vectors, score) for row, vectors in zip(self.rows, embeddings, strict=True)]

    def save_csv(self, path: str | Path) -> None:
        """Save one line per cell: its facts and scores; their conventions stand beside it in ``NAME.columns.json``."""
        write_cells(self.rows, Path(path), (self.row_labels, self.column_labels))

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
            score: whose value is shown for each picture, a name of `linea_diffusion.scoring.figures.SCORES`; the first
                that the grid has when left out.
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
        save(self.image(**drawing), path, grid_record(self))

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
