"""`StyleGrid`: prompts by strengths, rendered from one noise a row, labelled, scored and saved."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from .concepts import Concept, StyleTexts
from .errors import LineaError
from .storage import make_folder

if TYPE_CHECKING:
    from .pipeline import LinEASDiffusionPipeline
    from .scoring import ClipScorer

SCORES = ("clip_style", "clip_prompt", "style_probability", "similarity_to_unsteered")
"""Columns of `StyleGrid.save_csv`: raw CLIP cosine to the style text and to the prompt, zero-shot probability of the
style text against the neutral one, raw CLIP cosine to the same row's picture at strength 0."""

_INK, _MUTED, _PAPER = (28, 30, 36), (110, 114, 124), (255, 255, 255)


@dataclass
class Cell:
    """One picture of a grid, what it was made from, and its scores (empty until scored)."""

    prompt: str
    strength: float
    seed: int
    image: Image.Image
    scores: dict[str, float] = field(default_factory=dict)


class StyleGrid:
    """Pictures of several prompts (rows) at several strengths (columns).

    Attributes:
        rows: per prompt and seed the cells in the order of the strengths.
        style: the concept's name, for titles and tables.
    """

    def __init__(self, rows: Sequence[Sequence[Cell]], *, style: str) -> None:
        if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
            raise LineaError(f"got grid rows of lengths {[len(row) for row in rows]}: expected equal lengths above 0")
        self.rows = [list(row) for row in rows]
        self.style = style

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
        """Render a grid: each row in one batch from one noise.

        Args:
            pipe: a pipeline with steering loaded.
            prompts: one row each.
            strengths: one column each.
            seeds: the first seed (row i takes seed + i), or one seed per prompt.
            style: name for titles and tables.
            **arguments: of the base pipeline, such as ``num_inference_steps`` and ``guidance_scale``.

        Raises:
            LineaError: no prompts, or seeds that do not fit them.
        """
        seeds = [seeds + i for i in range(len(prompts))] if isinstance(seeds, int) else list(seeds)
        if len(seeds) != len(prompts) or not prompts:
            raise LineaError(
                f"got {len(prompts)} prompts and {len(seeds)} seeds: expected at least one, and equally many"
            )
        rows = []
        for prompt, seed in tqdm(list(zip(prompts, seeds, strict=True)), desc="render", unit="row"):
            generator = torch.Generator().manual_seed(seed)
            images = pipe(prompt, strength=list(strengths), generator=generator, **arguments).images
            rows.append([Cell(prompt, float(s), seed, image) for s, image in zip(strengths, images, strict=True)])
        return cls(rows, style=style)

    @property
    def cells(self) -> list[Cell]:
        """All cells, row by row."""
        return [cell for row in self.rows for cell in row]

    def score(self, scorer: ClipScorer, concept: Concept | StyleTexts) -> StyleGrid:
        """Fill in the `SCORES` of every cell and return the grid.

        Similarity is to the row's picture at strength 0, where the row has one; otherwise it is left out.
        """
        cells = self.cells
        images = [cell.image for cell in cells]
        columns = {
            "clip_style": scorer.text_similarity(images, concept.text),
            "clip_prompt": scorer.text_similarity(images, [cell.prompt for cell in cells]),
            "style_probability": scorer.style_probability(images, concept.text, concept.neutral),
        }
        for name, values in columns.items():
            for cell, value in zip(cells, values.tolist(), strict=True):
                cell.scores[name] = value
        for row in self.rows:
            unsteered = [cell.image for cell in row if cell.strength == 0]
            if unsteered:
                values = scorer.image_similarity([cell.image for cell in row], unsteered[:1] * len(row))
                for cell, value in zip(row, values.tolist(), strict=True):
                    cell.scores["similarity_to_unsteered"] = value
        return self

    def save(self, path: str | Path, *, cell_size: int = 192) -> None:
        """Save the grid as a picture: strengths above, prompts at the left, the style cosine under each cell."""
        path = Path(path)
        make_folder(path.parent)
        self.image(cell_size=cell_size).save(path)

    def image(self, *, cell_size: int = 192) -> Image.Image:
        """The grid as one RGB picture; `cell_size` is the side of a cell in pixels."""
        font, small = ImageFont.load_default(cell_size // 11), ImageFont.load_default(cell_size // 13)
        gap, left, top = cell_size // 16, cell_size, cell_size // 3
        caption = cell_size // 8 if self.cells[0].scores else 0
        step_x, step_y = cell_size + gap, cell_size + caption + gap
        sheet = Image.new("RGB", (left + step_x * len(self.rows[0]) + gap, top + step_y * len(self.rows) + gap), _PAPER)
        draw = ImageDraw.Draw(sheet)
        draw.text((gap, top / 2), self.style, font=font, fill=_INK, anchor="lm")
        for column, cell in enumerate(self.rows[0]):
            center = left + column * step_x + cell_size / 2
            draw.text((center, top / 2), f"strength {cell.strength:.3g}", font=font, fill=_INK, anchor="mm")
        for number, row in enumerate(self.rows):
            y = top + number * step_y
            label = _wrap(draw, row[0].prompt, small, left - 2 * gap)
            draw.multiline_text((gap, y + cell_size / 2), label, font=small, fill=_INK, anchor="lm")
            for column, cell in enumerate(row):
                x = left + column * step_x
                sheet.paste(_fit(cell.image, cell_size), (x, y))
                if cell.scores:
                    text = f"CLIP {cell.scores['clip_style']:.3f}"
                    draw.text(
                        (x + cell_size / 2, y + cell_size + caption / 2), text, font=small, fill=_MUTED, anchor="mm"
                    )
        return sheet

    def save_csv(self, path: str | Path) -> None:
        """Save one line per cell: prompt, style, strength, seed and the `SCORES`."""
        path = Path(path)
        make_folder(path.parent)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["prompt", "style", "strength", "seed", *SCORES])
            for cell in self.cells:
                values = [f"{cell.scores[name]:.5f}" if name in cell.scores else "" for name in SCORES]
                writer.writerow([cell.prompt, self.style, f"{cell.strength:g}", cell.seed, *values])

    def mean_scores(self) -> list[dict[str, float]]:
        """Per strength the strength and the mean of each score over the rows."""
        return [
            {
                "strength": column[0].strength,
                **{name: _mean(cell.scores.get(name) for cell in column) for name in SCORES},
            }
            for column in (list(cells) for cells in zip(*self.rows, strict=True))
        ]


def _mean(values: Iterable[float | None]) -> float:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else float("nan")


def _fit(image: Image.Image, size: int) -> Image.Image:
    """A picture fitted into a square: small ones are enlarged without smoothing when the factor is whole."""
    scale = size / max(image.size)
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    whole = scale >= 1 and float(scale).is_integer()
    resized = image.convert("RGB").resize(shape, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)
    square = Image.new("RGB", (size, size), _PAPER)
    square.paste(resized, ((size - shape[0]) // 2, (size - shape[1]) // 2))
    return square


def _wrap(draw: ImageDraw.ImageDraw, text: str, font: Any, width: float, *, lines: int = 6) -> str:
    """Text broken into at most `lines` lines of `width` pixels; the rest becomes an ellipsis."""
    wrapped = [""]
    for word in text.split():
        longer = f"{wrapped[-1]} {word}".strip()
        if draw.textlength(longer, font=font) <= width or not wrapped[-1]:
            wrapped[-1] = longer
        else:
            wrapped.append(word)
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], wrapped[lines - 1] + " …"]
    return "\n".join(wrapped)
