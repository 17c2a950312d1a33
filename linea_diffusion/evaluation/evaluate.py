"""Honest comparison of ways to steer: held-out prompts, the same noise for all, one or several training seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ..concepts.concept import StyleTexts
from ..concepts.notices import noticing
from ..errors import LineaError, check_seed, short
from ..pipelines.rendering.batch_size import BatchSize
from ..pipelines.rendering.render import render_prompts
from ..pipelines.rendering.requests import check_arguments
from ..progress import stage
from ..scoring.clip_scorer import ClipScorer
from ..scoring.formulas import score_pictures
from ..steering.dial import check_positions
from .records import Record
from .ways import Methods, ways_of

Judge = Callable[[Sequence[Image.Image], Sequence[str]], Mapping[str, np.ndarray]]

Pictures = dict[tuple[str, str, str, float], Image.Image]
"""(style, method, prompt, strength) -> picture."""

OnPictures = Callable[[str, float, list[Image.Image]], None]

POSITIONS = tuple(number / 8 for number in range(9))
"""Of the dial: enough of them to read what is kept at equal amount of style."""


def evaluate(
    pipe: Any,
    methods: Methods,
    texts: StyleTexts,
    prompts: Sequence[str],
    *,
    strengths: Sequence[float] = POSITIONS,
    scorer: ClipScorer,
    judge: Judge | None = None,
    seed: int = 1000,
    seeds: Sequence[int] = (0,),
    batch_size: int = 32,
    calibrated: bool | None = None,
    on_pictures: OnPictures | None = None,
    **arguments: Any,
) -> list[Record]:
    """Render held-out prompts by every method at every strength, and score each picture.

    Args:
        pipe: a `LinEASDiffusionPipeline`; its own steering is not used.
        methods: name -> maps; or a function of a training seed that gives them, called for each of `seeds` before
            anything is rendered; None stands for asking in words: the unsteered pipeline with ", STYLE" behind the
            prompt, at strength 1 only.
        texts: what CLIP weighs.
        prompts: held-out prompts; prompt number i has noise seed + i in every method and at every strength.
        strengths: the dial's positions; 0 is rendered once and serves all methods.
        scorer: for the CLIP figures.
        judge: (pictures, prompts) -> name -> figure (n,), the ``TRUTH`` that a truth classifier knows.
        seed: of the noise.
        seeds: of the trainings. Records say whose they are, and intervals are over prompts and training seeds; words,
            and maps that are given as they are, are rendered once.
        batch_size: pictures at once.
        calibrated: how strengths are read, by each method for itself: on its calibration where its maps have one
            (None), as a share of the way in activations (False), or on calibrations that all must have (True).
        on_pictures: called with (method, strength, pictures in the order of the prompts) as they are made, such as
            `keep_first`, with each training seed in turn; without it no picture is kept.
        **arguments: of the pipeline's calls.

    Raises:
        LineaError: no prompts, no methods, several seeds without a method that trains, strengths that do not ascend
            from 0 or leave 1 out, ``calibrated=True`` with maps that never were, an argument that rendering sets
            itself, or a picture that shows nothing.
    """
    strengths = check_dial(strengths)
    check_arguments(arguments)
    if not (prompts and methods):
        raise LineaError(f"got {len(prompts)} prompts and {len(methods)} methods: expected some of each")
    ways = ways_of(methods, seeds)
    for way in ways:
        if way.maps is not None:
            way.maps.dial(calibrated)  # what cannot be is told before anything is rendered
    settings = {**pipe.default_arguments, **arguments, "batch_size": BatchSize(batch_size, pipe.base)}
    noises = [check_seed(seed) + number for number in range(len(prompts))]
    style_prompts = [f"{prompt}, {texts.name}" for prompt in prompts]
    asked = any(way.maps is None for way in ways)
    plan = [(way, s) for way in ways for s in strengths if way.maps is not None or s in (0, 1)]
    records: list[Record] = []
    with noticing(pipe.base, [*prompts, *(style_prompts if asked else [])]):
        unsteered = render_prompts(pipe.base, prompts, noises, **settings)
        references = list(scorer.embed_images(unsteered))
        with stage(f"evaluate {texts.name}", len(plan), unit="position") as going:
            for way, strength in plan:
                if strength == 0:
                    images = unsteered
                elif way.maps is None:
                    images = render_prompts(pipe.base, style_prompts, noises, **settings)
                else:
                    with way.maps.apply(pipe, strength, calibrated=calibrated):
                        images = render_prompts(pipe.base, prompts, noises, **settings)
                vectors = scorer.embed_images(images)
                figures = score_pictures(scorer, vectors, texts=texts, prompts=prompts, references=references)
                judged = judge(images, prompts) if judge else {}
                for row, (prompt, scores) in enumerate(zip(prompts, figures, strict=True)):
                    scores |= {name: float(values[row]) for name, values in judged.items()}
                    facts = (noises[row], way.training_seed)
                    records.append(Record(texts.name, way.method, strength, prompt, scores, *facts))
                if on_pictures is not None:
                    on_pictures(way.method, strength, images)
                going.update()
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


_Made = TypeVar("_Made")


def keep_first(
    kept: dict[tuple[str, str, str, float], _Made], style: str, prompts: Sequence[str]
) -> Callable[[str, float, list[_Made]], None]:
    """An `on_pictures`, or an ``on_texts``, that keeps what the first prompts gave, for a report.

    Of several training seeds they are the first one's.

    Args:
        kept: where to put the pictures or texts.
        style: the concept's name.
        prompts: the first of those that are evaluated.
    """

    def put(method: str, strength: float, made: list[_Made]) -> None:
        for prompt, one in zip(prompts, made, strict=False):
            kept.setdefault((style, method, prompt, strength), one)

    return put
