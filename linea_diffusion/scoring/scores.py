"""What pictures and curves are scored by: each figure's formula, and the one table of their conventions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import normalize


@dataclass(frozen=True)
class Figure:
    """A figure and its convention.

    Attributes:
        name: in ``Cell.scores`` and in code.
        convention: how it is computed, in a few words; part of the headers.
        meaning: what it tells, in a sentence, with its source.
        low: the least that it can be.
        high: the most that it can be.
    """

    name: str
    convention: str
    meaning: str
    low: float
    high: float

    @property
    def header(self) -> str:
        """Of a column in a table: the name with the convention behind it."""
        return f"{self.name} ({self.convention})"


def _table(*figures: Figure) -> Mapping[str, Figure]:
    return {figure.name: figure for figure in figures}


_INFINITY = float("inf")

SCORES = _table(
    Figure("clip_style", "raw cosine", "Picture and the style's text, in CLIP.", -1, 1),
    Figure("clip_prompt", "raw cosine", "Picture and its own prompt, in CLIP.", -1, 1),
    Figure(
        "clip_score_style", "2.5*max(cosine,0)", "CLIPScore of picture and the style's text (arXiv 2104.08718).", 0, 2.5
    ),
    Figure("clip_score_prompt", "2.5*max(cosine,0)", "CLIPScore of picture and its prompt (arXiv 2104.08718).", 0, 2.5),
    Figure(
        "style_probability",
        "softmax against the neutral text",
        "Zero-shot probability of the style's text against the neutral one at CLIP's own temperature "
        "(Linear-AcT, arXiv 2410.23054).",
        0,
        1,
    ),
    Figure(
        "directional_similarity",
        "cosine of changes",
        "Change of the picture since strength 0, and change from the neutral text to the style's "
        "(StyleGAN-NADA, arXiv 2108.00946); unknown where the picture did not change.",
        -1,
        1,
    ),
    Figure("similarity_to_unsteered", "raw image cosine", "Picture and the picture at strength 0, in CLIP.", -1, 1),
)
"""Figures of one picture, by name, in the order of the columns of every table."""

CURVES = _table(
    Figure("spearman", "rank correlation", "Of strength and score; 1 if the score rises with every step.", -1, 1),
    Figure(
        "gap_deviation",
        "standard deviation of normalised gaps",
        "How uneven the steps of the score are; 0 for a straight line.",
        0,
        _INFINITY,
    ),
    Figure(
        "triangle_deficit",
        "radians in CLIP",
        "How much longer the way through neighbouring pictures is than the straight one, on average "
        "(after arXiv 2510.08532).",
        0,
        _INFINITY,
    ),
)
"""Figures of one row of pictures over strength, by name. The formulas are in `figures`."""


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Raw cosine of unit embeddings: (n, e) and (n, e) or (e,) -> (n,), in [-1, 1]."""
    return (a * b).sum(-1)


def clip_score(cosines: torch.Tensor) -> torch.Tensor:
    """CLIPScore 2.5*max(cosine, 0) (arXiv 2104.08718, equation 1), from raw cosines of any shape: in [0, 2.5]."""
    return 2.5 * cosines.clamp_min(0)


def text_probabilities(images: torch.Tensor, texts: torch.Tensor, *, scale: float) -> torch.Tensor:
    """Zero-shot probabilities: softmax over k texts of `scale` times the cosines, (n, e) and (k, e) -> (n, k)."""
    return (scale * (images @ texts.T)).softmax(-1)


def directional_similarity(
    images: torch.Tensor, references: torch.Tensor, text: torch.Tensor, neutral: torch.Tensor
) -> torch.Tensor:
    """Cosine of the pictures' change with the texts' change (arXiv 2108.00946), from unit embeddings.

    Args:
        images: (n, e).
        references: (n, e), what the pictures were before.
        text: (e,).
        neutral: (e,).

    Returns:
        (n,), in [-1, 1]; NaN for a picture that did not change.
    """
    change = images - references
    values = normalize(change, dim=-1) @ normalize(text - neutral, dim=-1)
    return values.where(change.norm(dim=-1) > 1e-5, torch.nan)


def picture_scores(
    images: torch.Tensor,
    *,
    scale: float,
    style: torch.Tensor | None = None,
    neutral: torch.Tensor | None = None,
    prompts: torch.Tensor | None = None,
    references: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Those of the `SCORES` that are known, (n,) each, in the table's order.

    Args:
        images: unit embeddings of pictures, (n, e).
        scale: of CLIP's cosines in the softmax.
        style: of the style's text, (e,).
        neutral: of the neutral text, (e,).
        prompts: of each picture's prompt, (n, e).
        references: of each picture at strength 0, (n, e); rows of NaN where there is none.
    """
    known: dict[str, Any] = {}
    if style is not None:
        known["clip_style"] = cosine(images, style)
        known["clip_score_style"] = clip_score(known["clip_style"])
    if prompts is not None:
        known["clip_prompt"] = cosine(images, prompts)
        known["clip_score_prompt"] = clip_score(known["clip_prompt"])
    if style is not None and neutral is not None:
        known["style_probability"] = text_probabilities(images, torch.stack([style, neutral]), scale=scale)[:, 0]
    if references is not None:
        known["similarity_to_unsteered"] = cosine(images, references)
        if style is not None and neutral is not None:
            known["directional_similarity"] = directional_similarity(images, references, style, neutral)
    return {name: known[name] for name in SCORES if name in known}
