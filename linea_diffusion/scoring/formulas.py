"""What pictures are scored by: each figure's formula, and those of the `SCORES` that are known of some pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import normalize

from ..concepts.concept import Concept, StyleTexts
from .figures import SCORES, names_in

if TYPE_CHECKING:
    from .clip_scorer import ClipScorer


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
    figures: dict[str, Any] = {}
    if style is not None:
        figures["clip_style_cosine"] = cosine(images, style)
        figures["clip_score_style"] = clip_score(figures["clip_style_cosine"])
    if prompts is not None:
        figures["clip_prompt_cosine"] = cosine(images, prompts)
        figures["clip_score_prompt"] = clip_score(figures["clip_prompt_cosine"])
    if style is not None and neutral is not None:
        figures["clip_style_probability"] = text_probabilities(images, torch.stack([style, neutral]), scale=scale)[:, 0]
    if references is not None:
        figures["similarity_to_unsteered"] = cosine(images, references)
        if style is not None and neutral is not None:
            figures["directional_similarity"] = directional_similarity(images, references, style, neutral)
    return {name: figures[name] for name in SCORES if name in figures}


def score_pictures(
    scorer: ClipScorer,
    images: torch.Tensor,
    *,
    texts: Concept | StyleTexts | None = None,
    prompts: Sequence[str | None] = (),
    references: Sequence[torch.Tensor | None] = (),
) -> list[dict[str, float]]:
    """Of each picture those of the `SCORES` that are known.

    Args:
        scorer: that embedded the pictures; embeds the texts.
        images: unit embeddings of n pictures, (n, e).
        texts: what the style is weighed by.
        prompts: n of them; None where a picture has none.
        references: unit embeddings, (e,), of the n pictures at strength 0; None where there is none.
    """
    style, neutral = (None, None) if texts is None else scorer.embed_texts([texts.text, texts.neutral])
    named = [prompt for prompt in prompts if prompt]
    embedded = iter(scorer.embed_texts(named) if named else ())
    values = picture_scores(
        images, scale=scorer.scale, style=style, neutral=neutral,
        prompts=_stacked([next(embedded) if prompt else None for prompt in prompts]), references=_stacked(references),
    )  # fmt: skip
    rows = [{name: float(column[row]) for name, column in values.items()} for row in range(len(images))]
    return [{name: value for name, value in row.items() if not math.isnan(value)} for row in rows]


def mean_figures(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each figure over the pictures that have it."""
    columns = {name: [one[name] for one in scores if name in one] for name in names_in(scores)}
    return {name: sum(values) / len(values) for name, values in columns.items() if values}


def _stacked(vectors: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """(n, e), NaN where there is no vector; None if there is none at all."""
    rows = [vector for vector in vectors if vector is not None]
    if not rows:
        return None
    nowhere = torch.full_like(rows[0], torch.nan)
    return torch.stack([nowhere if vector is None else vector for vector in vectors])
