"""CLIP figures of a batch's images, written into their lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from .jobs import Job
from .styles import Styles

if TYPE_CHECKING:
    from ..scoring import ClipScorer

FIGURES = ("clip_prompt", "clip_style", "style_probability")
"""Raw CLIP cosine to the prompt; raw cosine to the style's text, and zero-shot probability of that text against the
neutral one, both empty unless exactly one style with a text is named."""


def figures_of(
    scorer: ClipScorer | None, jobs: Sequence[Job], images: Sequence[Image.Image], styles: Styles
) -> list[dict[str, float | None]]:
    """The `FIGURES` of each image; nothing without a scorer."""
    if scorer is None or not jobs:
        return [{} for _ in jobs]
    rows: list[dict[str, float | None]] = [dict.fromkeys(FIGURES) for _ in jobs]
    for row, value in zip(rows, scorer.text_similarity(images, [job.prompt for job in jobs]).tolist(), strict=True):
        row["clip_prompt"] = value
    texts = [_texts(job, styles) for job in jobs]
    for pair in dict.fromkeys(pair for pair in texts if pair):
        places = [place for place, own in enumerate(texts) if own == pair]
        some, (text, neutral) = [images[place] for place in places], pair
        cosines, chances = scorer.text_similarity(some, text), scorer.style_probability(some, text, neutral)
        for place, cosine, chance in zip(places, cosines.tolist(), chances.tolist(), strict=True):
            rows[place] |= {"clip_style": cosine, "style_probability": chance}
    return rows


def _texts(job: Job, styles: Styles) -> tuple[str, str] | None:
    if len(job.strength) != 1:
        return None
    facts = styles[next(iter(job.strength))].metadata
    return (facts["text"], facts["neutral"]) if {"text", "neutral"} <= facts.keys() else None
