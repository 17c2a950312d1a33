"""The one table of figures: names, conventions and meanings of all that is ever shown or written of pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A figure and its convention.

    Attributes:
        name: in ``Cell.scores``, in files and in code.
        label: in a word or two, for axes and beside pictures.
        convention: how it is computed, in a few words; part of the headers.
        meaning: what it tells, in a sentence, with its source.
        low: the least that it can be.
        high: the most that it can be.
    """

    name: str
    label: str
    convention: str
    meaning: str
    low: float
    high: float

    @property
    def header(self) -> str:
        """Where people read it: the name with the convention behind it. In files the name is alone."""
        return f"{self.name} ({self.convention})"

    @property
    def described(self) -> dict[str, Any]:
        """What is said of it beside a table of it, as JSON holds it; no bound is None."""
        bounds = [None if math.isinf(bound) else bound for bound in (self.low, self.high)]
        return {"label": self.label, "convention": self.convention, "range": bounds, "meaning": self.meaning}

    @property
    def is_share(self) -> bool:
        """Whether it goes from 0 to 1."""
        return (self.low, self.high) == (0, 1)


def _table(*figures: Figure) -> Mapping[str, Figure]:
    return {figure.name: figure for figure in figures}


_INFINITY = float("inf")

SCORES = _table(
    Figure("clip_style_cosine", "CLIP, style", "raw cosine", "Picture and the style's text, in CLIP.", -1, 1),
    Figure("clip_prompt_cosine", "CLIP, prompt", "raw cosine", "Picture and its own prompt, in CLIP.", -1, 1),
    Figure(
        "clip_score_style", "CLIPScore, style", "2.5*max(cosine,0)",
        "CLIPScore of picture and the style's text (arXiv 2104.08718).", 0, 2.5,
    ),
    Figure(
        "clip_score_prompt", "CLIPScore, prompt", "2.5*max(cosine,0)",
        "CLIPScore of picture and its prompt (arXiv 2104.08718).", 0, 2.5,
    ),
    Figure(
        "clip_style_probability", "P(style)", "softmax against the neutral text",
        "Zero-shot probability of the style's text against the neutral one at CLIP's own temperature "
        "(Linear-AcT, arXiv 2410.23054).", 0, 1,
    ),
    Figure(
        "directional_similarity", "direction", "cosine of changes",
        "Change of the picture since strength 0, and change from the neutral text to the style's "
        "(StyleGAN-NADA, arXiv 2108.00946); unknown where the picture did not change.", -1, 1,
    ),
    Figure(
        "similarity_to_unsteered", "like unsteered", "raw image cosine",
        "Picture and the picture at strength 0, in CLIP.", -1, 1,
    ),
)  # fmt: skip
"""Figures of one picture by CLIP, by name, in the order of the columns of every table."""

TRUTH = _table(
    Figure(
        "truth_style", "P(style), truth", "probability, truth classifier",
        "Probability of the style by the classifier of the embedded world.", 0, 1,
    ),
    Figure("truth_amount", "amount", "amount, truth classifier", "Amount of the style.", 0, 1),
    Figure(
        "truth_object", "object right", "1 or 0, truth classifier", "Whether the picture shows the prompt's object.",
        0, 1,
    ),
    Figure(
        "truth_color", "colour right", "1 or 0, truth classifier", "Whether it has the prompt's colour.", 0, 1,
    ),
)  # fmt: skip
"""Figures of one picture by the truth classifier of the embedded world, where there is one."""

OF_STYLE = ("clip_style_cosine", "clip_score_style", "clip_style_probability", "directional_similarity")
"""Those of the `SCORES` that are about a style; pictures that two styles act on have them as ``NAME_STYLE`` of each."""

OF_PICTURES = {**SCORES, **TRUTH}
"""Both, in the order of the columns of an evaluation."""

TEXTS = _table(
    Figure(
        "truth_target", "target's words", "1 or 0, grammar", "Whether the text has words of the target's kind.", 0, 1
    ),
    Figure("truth_source", "source's words", "1 or 0, grammar", "Whether it has words of the source's kind.", 0, 1),
    Figure("truth_topic", "topic right", "1 or 0, grammar", "Whether it is about what the prompt is about.", 0, 1),
    Figure(
        "truth_grammar", "grammar right", "share of sentences", "Share of its sentences that the grammar can write.",
        0, 1,
    ),
    Figure(
        "perplexity", "perplexity", "of the text by itself, unsteered model",
        "How unlikely the unsteered model finds the text.", 1, _INFINITY,
    ),
    Figure(
        "distinct_2", "distinct-2", "share of pairs of words",
        "How many of its pairs of neighbouring words are different (arXiv 1510.03055).", 0, 1,
    ),
)  # fmt: skip
"""Figures of one text; those of the grammar where the embedded language model wrote it."""

OF_RECORDS = {**OF_PICTURES, **TEXTS}
"""What an evaluation knows of a picture or of a text, in the order of its columns."""

CURVES = _table(
    Figure(
        "spearman", "spearman", "rank correlation", "Of strength and score; 1 if the score rises with every step.",
        -1, 1,
    ),
    Figure(
        "gap_deviation", "gap deviation", "standard deviation of normalised gaps",
        "How uneven the steps of the score are; 0 for a straight line.", 0, _INFINITY,
    ),
    Figure(
        "triangle_deficit", "triangle deficit", "radians in CLIP",
        "How much longer the way through neighbouring pictures is than the straight one, on average "
        "(after arXiv 2510.08532).", 0, _INFINITY,
    ),
)  # fmt: skip
"""Figures of one row of pictures over strength, by name. The formulas are in `statistics`."""

TURNS = _table(
    Figure("most", "most", "mean over pictures", "The largest mean amount.", 0, 1),
    Figure(
        "largest step", "largest step", "share of the whole rise",
        "Largest step of the mean amount, as a share of its whole rise; 1 is a switch, above 1 it overshoots.",
        0, _INFINITY,
    ),
    Figure(
        "step of a picture", "step of a picture", "share of the whole rise, median over pictures",
        "Median of each picture's own; a mean of switches that turn at different places is even, and this tells.",
        0, _INFINITY,
    ),
    Figure(
        "spearman", "spearman", "rank correlation, mean over pictures", "Rank correlation of strength and amount.",
        -1, 1,
    ),
    Figure(
        "gap deviation", "gap deviation", "standard deviation of normalised gaps",
        "How uneven the steps of the mean amount are; 0 is even.", 0, _INFINITY,
    ),
)  # fmt: skip
"""Figures of a method's dial by the amount of style, as `dial_samples` names them."""


def meanings(table: Mapping[str, Figure]) -> str:
    """What the figures of a table tell, in a sentence each."""
    return " ".join(f"{figure.name}: {figure.meaning}" for figure in table.values())


EARLIER = {
    "clip_style": "clip_style_cosine",
    "clip_prompt": "clip_prompt_cosine",
    "style_probability": "clip_style_probability",
}
"""What earlier files called figures -> what they are called now."""

FACTS = {
    "prompt": "What the picture shall show.",
    "style": "What the picture is steered to.",
    "method": "What steered.",
    "strength": "Position of the dial; 0 is the base model.",
    "seed": "Seed of the picture's noise.",
    "style_share": "What is seen of the style at a strength, as a share of the change from strength 0 to 1.",
    "iteration": "Step of the optimiser, from 0.",
    "loss": "Of the iteration's batch, divided by the squared share of the way that its strength stands for.",
    "training_seed": "Seed of the training of the maps; empty where nothing was trained for this table.",
}
"""Columns that are no figures, by name: in every table they mean the same."""


def described(columns: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What the figures and facts among the columns of a table mean, as JSON holds it."""
    told: dict[str, dict[str, Any]] = {}
    for column in columns:
        if column in FACTS:
            told[column] = {"meaning": FACTS[column]}
        elif (figure := figure_of(column)) is not None:
            told[column] = figure.described
    return told


def conventions_of(names: Iterable[str]) -> dict[str, str]:
    """Name -> convention, of figures."""
    return {name: figure.convention for name in names if (figure := figure_of(name)) is not None}


def base_of(name: str) -> str:
    """The name of a figure without the style that it may say."""
    return next((base for base in OF_STYLE if name.startswith(f"{base}_")), name)


def figure_of(name: str) -> Figure | None:
    """The figure of a name, which may say its style: ``clip_style_cosine_neon``; None for what is no figure."""
    base = base_of(name)
    figure = {**OF_RECORDS, **CURVES}.get(base)
    if figure is None or base == name:
        return figure
    return replace(figure, name=name, label=f"{figure.label}: {name.removeprefix(f'{base}_')}")


def names_in(scores: Iterable[Mapping[str, float]]) -> list[str]:
    """The figures that some picture has, in the order of the columns of every table."""
    order, seen = list(OF_PICTURES), dict.fromkeys(name for one in scores for name in one)
    return sorted(seen, key=lambda name: order.index(base_of(name)))


def columns_for(scores: Iterable[Mapping[str, float]]) -> list[str]:
    """All `SCORES`, whether known or not; where figures say their styles, those that some picture has."""
    known = names_in(scores)
    return list(SCORES) if SCORES.keys() >= set(known) else known
