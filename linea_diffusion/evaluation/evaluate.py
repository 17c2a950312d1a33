"""Honest comparison of ways to steer: held-out prompts, the same noise for all, intervals over prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from ..concepts.concept import StyleTexts
from ..concepts.notices import noticing
from ..errors import LineaError, check_seed, reason, short
from ..maps.steering_maps import SteeringMaps
from ..pipelines.batch_size import BatchSize
from ..pipelines.rendering import render_prompts
from ..pipelines.requests import check_arguments
from ..scoring.clip_scorer import ClipScorer
from ..scoring.scores import SCORES
from ..scoring.statistics import bootstrap_interval
from ..scoring.tables import read_csv, write_csv
from ..steering.strengths import check_positions

Judge = Callable[[Sequence[Image.Image], Sequence[str]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Record:
    """What is known of one picture.

    Attributes:
        style: concept's name.
        method: what steered.
        strength: of the steering.
        prompt: the held-out prompt.
        clip_style: zero-shot probability of the style's text against the neutral text, [0, 1] (arXiv 2410.23054).
        clip_text: raw cosine with the style's text.
        clip_prompt: raw cosine with the prompt.
        content: raw CLIP cosine with the unsteered picture of the same noise.
        truth_style: probability of the style by the truth classifier; NaN where there is none, as for all below.
        truth_amount: amount of the style.
        truth_object: 1 if the object is the prompt's.
        truth_color: 1 if the colour is the prompt's.
    """

    style: str
    method: str
    strength: float
    prompt: str
    clip_style: float
    clip_text: float
    clip_prompt: float
    content: float
    truth_style: float = float("nan")
    truth_amount: float = float("nan")
    truth_object: float = float("nan")
    truth_color: float = float("nan")


Pictures = dict[tuple[str, str, str, float], Image.Image]
"""(style, method, prompt, strength) -> picture."""

OnPictures = Callable[[str, float, list[Image.Image]], None]

POSITIONS = tuple(number / 8 for number in range(9))
"""Of the dial: enough of them to read what is kept at equal amount of style."""

CONVENTIONS = {
    "clip_style": SCORES["style_probability"].convention,
    "clip_text": SCORES["clip_style"].convention,
    "clip_prompt": SCORES["clip_prompt"].convention,
    "content": SCORES["similarity_to_unsteered"].convention,
}
"""Figure of a `Record` by CLIP -> how it is computed, as the header of the CSV file says it."""

FIGURES = tuple(f.name for f in fields(Record) if f.type == "float" and f.name != "strength")


def evaluate(
    pipe: Any,
    methods: Mapping[str, SteeringMaps | None],
    texts: StyleTexts,
    prompts: Sequence[str],
    *,
    strengths: Sequence[float] = POSITIONS,
    scorer: ClipScorer,
    judge: Judge | None = None,
    seed: int = 1000,
    batch_size: int = 32,
    calibrated: bool | None = None,
    on_pictures: OnPictures | None = None,
    **arguments: Any,
) -> list[Record]:
    """Render held-out prompts by every method at every strength, and score each picture.

    Args:
        pipe: a `LinEASDiffusionPipeline`; its own steering is not used.
        methods: name -> maps; None stands for asking in words: the unsteered pipeline with ", STYLE" behind the
            prompt, at strength 1 only.
        texts: what CLIP weighs.
        prompts: held-out prompts; prompt number i has noise seed + i in every method and at every strength.
        strengths: the dial's positions; 0 is rendered once and serves all methods.
        scorer: for the CLIP figures.
        judge: (pictures, prompts) -> figures of Record by name (n,), for what a truth classifier knows.
        seed: of the noise.
        batch_size: pictures at once.
        calibrated: how strengths are read, by each method for itself: on its calibration where its maps have one
            (None), as a share of the way in activations (False), or on calibrations that all must have (True).
        on_pictures: called with (method, strength, pictures in the order of the prompts) as they are made, such as
            `keep_first`; without it no picture is kept.
        **arguments: of the pipeline's calls.

    Raises:
        LineaError: no prompts, no methods, strengths that do not ascend from 0 or leave 1 out, ``calibrated=True`` with
            maps that never were, an argument that rendering sets itself, or a picture that shows nothing.
    """
    strengths = check_dial(strengths)
    check_arguments(arguments)
    if not (prompts and methods):
        raise LineaError(f"got {len(prompts)} prompts and {len(methods)} methods: expected some of each")
    for maps in methods.values():
        if maps is not None:
            maps.dial(calibrated)  # what cannot be is told before anything is rendered
    given = {**pipe.default_arguments, **arguments, "batch_size": BatchSize(batch_size, pipe.base)}
    seed = check_seed(seed)
    seeds = range(seed, seed + len(prompts))
    asked = [f"{prompt}, {texts.name}" for prompt in prompts]
    records: list[Record] = []
    with noticing(pipe.base, [*prompts, *(asked if None in methods.values() else [])]):
        score = _Scores(scorer, judge, texts, prompts, render_prompts(pipe.base, prompts, seeds, **given))

        def put(method: str, strength: float, images: list[Image.Image]) -> None:
            records.extend(score.records(method, strength, images))
            if on_pictures is not None:
                on_pictures(method, strength, images)

        with tqdm(total=len(methods) * (len(strengths) - 1), desc=f"evaluate {texts.name}", unit="strength") as bar:
            for method, maps in methods.items():
                put(method, 0.0, score.unsteered)
                for strength in strengths[1:]:
                    if maps is not None:
                        with maps.apply(pipe, strength, calibrated=calibrated):
                            put(method, strength, render_prompts(pipe.base, prompts, seeds, **given))
                    elif strength == 1:
                        put(method, 1.0, render_prompts(pipe.base, asked, seeds, **given))
                    bar.update()
    return records


def check_dial(strengths: Sequence[float]) -> tuple[float, ...]:
    """The dial's positions of a comparison.

    Raises:
        LineaError: they do not ascend from 0, or leave 1 out.
    """
    positions = check_positions(strengths)
    if positions[0] != 0 or 1 not in positions or list(positions) != sorted(set(positions)):
        raise LineaError(
            f"got strengths {short(positions)}: expected strengths that ascend from 0 and have 1 among them"
        )
    return positions


def keep_first(pictures: Pictures, style: str, prompts: Sequence[str]) -> OnPictures:
    """An `on_pictures` that puts the pictures of the first prompts into `pictures`, for a report.

    Args:
        pictures: where to.
        style: the concept's name.
        prompts: the first of those that are evaluated.
    """

    def put(method: str, strength: float, images: list[Image.Image]) -> None:
        pictures.update(
            {(style, method, prompt, strength): image for prompt, image in zip(prompts, images, strict=False)}
        )

    return put


class _Scores:
    """Scores pictures against what does not change between methods."""

    def __init__(
        self,
        scorer: ClipScorer,
        judge: Judge | None,
        texts: StyleTexts,
        prompts: Sequence[str],
        unsteered: list[Image.Image],
    ) -> None:
        self.scorer, self.judge, self.texts, self.prompts = scorer, judge, texts, prompts
        self.unsteered, self.reference = unsteered, scorer.embed_images(unsteered)
        self.style, self.own = scorer.embed_texts([texts.text, texts.neutral]), scorer.embed_texts(list(prompts))

    def records(self, method: str, strength: float, images: list[Image.Image]) -> list[Record]:
        """One record per picture."""
        pictures = self.scorer.embed_images(images)
        figures: dict[str, np.ndarray] = {
            "clip_style": self.scorer.probabilities(pictures, self.style)[:, 0].numpy(),
            "clip_text": (pictures @ self.style[0]).numpy(),
            "clip_prompt": (pictures * self.own).sum(-1).numpy(),
            "content": (pictures * self.reference).sum(-1).numpy(),
            **(self.judge(images, self.prompts) if self.judge else {}),
        }
        return [
            Record(self.texts.name, method, strength, prompt, **{key: float(v[row]) for key, v in figures.items()})
            for row, prompt in enumerate(self.prompts)
        ]


def summarise(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Means with 95% bootstrap intervals over prompts, one entry for each style, method and strength.

    Each figure is a (mean, low, high); figures that are unknown (NaN) are left out.
    """
    groups: dict[tuple[str, str, float], list[Record]] = {}
    for record in records:
        groups.setdefault((record.style, record.method, record.strength), []).append(record)
    entries = []
    for (style, method, strength), group in groups.items():
        entry: dict[str, Any] = {"style": style, "method": method, "strength": strength, "prompts": len(group)}
        for figure in FIGURES:
            values = np.array([getattr(record, figure) for record in group])
            if not np.isnan(values).any():
                entry[figure] = bootstrap_interval(values)
        entries.append(entry)
    return entries


def curves(records: Sequence[Record], style: str, method: str, figure: str) -> tuple[list[float], np.ndarray]:
    """Strengths (k,) and a figure (prompts, k) of one style by one method."""
    chosen = [record for record in records if (record.style, record.method) == (style, method)]
    strengths = sorted({record.strength for record in chosen})
    prompts = dict.fromkeys(record.prompt for record in chosen)
    value = {(record.prompt, record.strength): getattr(record, figure) for record in chosen}
    return strengths, np.array([[value[prompt, strength] for strength in strengths] for prompt in prompts])


def write_records(records: Sequence[Record], path: Path) -> None:
    """All records as CSV, one line per picture; the header says the `CONVENTIONS`."""
    names = [f.name for f in fields(Record)]
    header = [f"{name} ({CONVENTIONS[name]})" if name in CONVENTIONS else name for name in names]
    rows = ([round(v, 5) if isinstance(v, float) else v for v in asdict(record).values()] for record in records)
    write_csv([header, *rows], path)


def read_records(path: Path) -> list[Record]:
    """The inverse of `write_records`.

    Raises:
        LineaError: a file that it did not write.
    """

    def record(row: Mapping[str, str]) -> Record:
        numbers = {name: float(row[name]) for name in ("strength", *FIGURES)}
        return Record(style=row["style"], method=row["method"], prompt=row["prompt"], **numbers)

    rows = read_csv(path)
    try:
        return [record({key.partition(" (")[0]: row[key] for key in row}) for row in rows]
    except (KeyError, ValueError) as error:
        raise LineaError(f"got {str(path)!r}: expected an evaluation.csv of linea evaluate ({reason(error)})") from None
