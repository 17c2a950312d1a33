"""Honest comparison of ways to steer: held-out prompts, the same noise for all, intervals over prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from ..concepts.concept import StyleTexts
from ..concepts.notices import noticing
from ..errors import LineaError, check_seed, reason, short
from ..maps.steering_maps import SteeringMaps
from ..pipelines.calling import for_base, render_prompts
from ..scoring.clip_scorer import ClipScorer
from ..scoring.figures import OF_PICTURES
from ..scoring.formulas import score_pictures
from ..scoring.statistics import bootstrap_interval
from ..scoring.tables import read_table, write_table
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
        scores: name -> figure, those of `linea_diffusion.scoring.figures.OF_PICTURES` that are known.
    """

    style: str
    method: str
    strength: float
    prompt: str
    scores: Mapping[str, float]


Pictures = dict[tuple[str, str, str, float], Image.Image]
"""(style, method, prompt, strength) -> picture."""

OnPictures = Callable[[str, float, list[Image.Image]], None]

POSITIONS = tuple(number / 8 for number in range(9))
"""Of the dial: enough of them to read what is kept at equal amount of style."""


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
        judge: (pictures, prompts) -> name -> figure (n,), the ``TRUTH`` that a truth classifier knows.
        seed: of the noise.
        batch_size: pictures at once.
        calibrated: how strengths are read, by each method for itself: on its calibration where its maps have one
            (None), as a share of the way in activations (False), or on calibrations that all must have (True).
        on_pictures: called with (method, strength, pictures in the order of the prompts) as they are made, such as
            `keep_first`; without it no picture is kept.
        **arguments: of the pipeline's calls.

    Raises:
        LineaError: no prompts, no methods, strengths that do not ascend from 0 or leave 1 out, ``calibrated=True`` with
            maps that never were, or a picture that shows nothing.
    """
    strengths = check_dial(strengths)
    if not (prompts and methods):
        raise LineaError(f"got {len(prompts)} prompts and {len(methods)} methods: expected some of each")
    for maps in methods.values():
        if maps is not None:
            maps.dial(calibrated)  # what cannot be is told before anything is rendered
    given = {**for_base(pipe.base, {**pipe.default_arguments, **arguments}), "batch_size": batch_size}
    seed = check_seed(seed)
    seeds = range(seed, seed + len(prompts))
    asked = [f"{prompt}, {texts.name}" for prompt in prompts]
    records: list[Record] = []
    with noticing(pipe.base, [*prompts, *(asked if None in methods.values() else [])]):
        unsteered = render_prompts(pipe.base, prompts, seeds, **given)
        score = partial(_scores, scorer, judge, texts, prompts, list(scorer.embed_images(unsteered)))

        def put(method: str, strength: float, images: list[Image.Image]) -> None:
            found = zip(prompts, score(images), strict=True)
            records.extend(Record(texts.name, method, strength, prompt, scores) for prompt, scores in found)
            if on_pictures is not None:
                on_pictures(method, strength, images)

        with tqdm(total=len(methods) * (len(strengths) - 1), desc=f"evaluate {texts.name}", unit="strength") as bar:
            for method, maps in methods.items():
                put(method, 0.0, unsteered)
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


def _scores(
    scorer: ClipScorer,
    judge: Judge | None,
    texts: StyleTexts,
    prompts: Sequence[str],
    references: Sequence[torch.Tensor],
    images: list[Image.Image],
) -> list[dict[str, float]]:
    """The figures of each picture, those of the judge among them."""
    vectors = scorer.embed_images(images)
    found = score_pictures(scorer, vectors, texts=texts, prompts=prompts, references=references)
    judged = judge(images, prompts) if judge else {}
    return [
        {**scores, **{name: float(values[row]) for name, values in judged.items()}} for row, scores in enumerate(found)
    ]


def known_figures(records: Sequence[Record]) -> list[str]:
    """The figures that some record has, in the order of tables."""
    return [name for name in OF_PICTURES if any(name in record.scores for record in records)]


def summarise(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Means with 95% bootstrap intervals over prompts, one entry for each style, method and strength.

    Each figure is a (mean, low, high); figures that some picture of the entry lacks are left out.
    """
    groups: dict[tuple[str, str, float], list[Record]] = {}
    for record in records:
        groups.setdefault((record.style, record.method, record.strength), []).append(record)
    entries = []
    for (style, method, strength), group in groups.items():
        entry: dict[str, Any] = {"style": style, "method": method, "strength": strength, "prompts": len(group)}
        for figure in OF_PICTURES:
            if all(figure in record.scores for record in group):
                entry[figure] = bootstrap_interval(np.array([record.scores[figure] for record in group]))
        entries.append(entry)
    return entries


def curves(records: Sequence[Record], style: str, method: str, figure: str) -> tuple[list[float], np.ndarray]:
    """Strengths (k,) and a figure (prompts, k), NaN where it is unknown, of one style by one method."""
    chosen = [record for record in records if (record.style, record.method) == (style, method)]
    strengths = sorted({record.strength for record in chosen})
    prompts = dict.fromkeys(record.prompt for record in chosen)
    value = {(record.prompt, record.strength): record.scores.get(figure, float("nan")) for record in chosen}
    return strengths, np.array([[value[prompt, strength] for strength in strengths] for prompt in prompts])


def write_records(records: Sequence[Record], path: Path) -> None:
    """All records as CSV, one line per picture; see `write_table`."""
    names = known_figures(records)
    rows = [
        {"style": one.style, "method": one.method, "strength": one.strength, "prompt": one.prompt,
         **{name: one.scores.get(name) for name in names}}
        for one in records
    ]  # fmt: skip
    write_table(rows, path)


_OLD = {"clip_style": "style_probability", "clip_text": "clip_style", "content": "similarity_to_unsteered"}
"""What earlier files called figures; they are known by ``clip_text``, which no figure is called now."""


def read_records(path: Path) -> list[Record]:
    """The inverse of `write_records`; also of files with earlier names of figures.

    Raises:
        LineaError: a file that it did not write.
    """
    rows = read_table(path)
    if any("clip_text" in row for row in rows):
        rows = [{_OLD.get(name, name): value for name, value in row.items()} for row in rows]

    def record(row: Mapping[str, str]) -> Record:
        scores = {name: float(row[name]) for name in OF_PICTURES if row.get(name, "")}
        known = {name: value for name, value in scores.items() if not math.isnan(value)}
        return Record(row["style"], row["method"], float(row["strength"]), row["prompt"], known)

    try:
        return [record(row) for row in rows]
    except (KeyError, ValueError) as error:
        raise LineaError(f"got {str(path)!r}: expected an evaluation.csv of linea evaluate ({reason(error)})") from None
