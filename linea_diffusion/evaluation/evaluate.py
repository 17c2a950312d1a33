"""Honest comparison of ways to steer: held-out prompts, the same noise for all, intervals over prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..concepts.concept import StyleTexts
from ..concepts.notices import noticing
from ..errors import LineaError, check_seed, short
from ..maps.steering_maps import SteeringMaps
from ..pipelines.rendering.batch_size import BatchSize
from ..pipelines.rendering.render import render_prompts
from ..pipelines.rendering.requests import check_arguments
from ..progress import stage
from ..scoring.clip_scorer import ClipScorer
from ..scoring.formulas import score_pictures
from ..steering.dial import check_positions
from .records import Record

Judge = Callable[[Sequence[Image.Image], Sequence[str]], Mapping[str, np.ndarray]]


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
            maps that never were, an argument that rendering sets itself, or a picture that shows nothing.
    """
    strengths = check_dial(strengths)
    check_arguments(arguments)
    if not (prompts and methods):
        raise LineaError(f"got {len(prompts)} prompts and {len(methods)} methods: expected some of each")
    for maps in methods.values():
        if maps is not None:
            maps.dial(calibrated)  # what cannot be is told before anything is rendered
    settings = {**pipe.default_arguments, **arguments, "batch_size": BatchSize(batch_size, pipe.base)}
    seed = check_seed(seed)
    seeds = range(seed, seed + len(prompts))
    style_prompts = [f"{prompt}, {texts.name}" for prompt in prompts]
    plan = [(name, maps, s) for name, maps in methods.items() for s in strengths if maps is not None or s in (0, 1)]
    records: list[Record] = []
    with noticing(pipe.base, [*prompts, *(style_prompts if None in methods.values() else [])]):
        unsteered = render_prompts(pipe.base, prompts, seeds, **settings)
        references = list(scorer.embed_images(unsteered))
        with stage(f"evaluate {texts.name}", len(plan), unit="position") as going:
            for method, maps, strength in plan:
                if strength == 0:
                    images = unsteered
                elif maps is None:
                    images = render_prompts(pipe.base, style_prompts, seeds, **settings)
                else:
                    with maps.apply(pipe, strength, calibrated=calibrated):
                        images = render_prompts(pipe.base, prompts, seeds, **settings)
                vectors = scorer.embed_images(images)
                figures = score_pictures(scorer, vectors, texts=texts, prompts=prompts, references=references)
                judged = judge(images, prompts) if judge else {}
                for row, (prompt, scores) in enumerate(zip(prompts, figures, strict=True)):
                    truth = {name: float(values[row]) for name, values in judged.items()}
                    records.append(Record(texts.name, method, strength, prompt, {**scores, **truth}))
                if on_pictures is not None:
                    on_pictures(method, strength, images)
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
