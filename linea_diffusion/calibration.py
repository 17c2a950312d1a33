"""Make equal steps of strength look like equal steps of style.

Strength is a share of the way in activations; what the eye sees of it is another matter. `calibrate` measures the style
at many strengths, makes the mean curve monotone, and stores it with the maps; ``calibrated=True`` then reads strengths
on that curve. Strengths 0 and 1 stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from .calling import for_base, render_prompts
from .concepts import StyleTexts
from .errors import LineaError
from .maps import SteeringMaps
from .prompt_notices import noticing
from .scalars import as_whole, check_seed
from .scoring import ClipScorer
from .wording import short

Measure = Callable[[Sequence[Image.Image]], np.ndarray]


def clip_measure(scorer: ClipScorer, texts: StyleTexts) -> Measure:
    """Amount of style by CLIP: raw cosine with the style's text minus that with the neutral text, (n,).

    A difference of cosines goes on rising where a zero-shot probability is at its ceiling.
    """
    directions = scorer.embed_texts([texts.text, texts.neutral])

    def measure(images: Sequence[Image.Image]) -> np.ndarray:
        cosines = scorer.embed_images(images) @ directions.T
        return (cosines[:, 0] - cosines[:, 1]).numpy()

    return measure


def calibrate(
    pipe: Any,
    maps: SteeringMaps,
    measure: Measure,
    prompts: Sequence[str],
    *,
    name: str = "CLIP cosine, style minus neutral",
    points: int = 17,
    seed: int = 500,
    batch_size: int = 32,
    **arguments: Any,
) -> dict[str, Any]:
    """Fit the dial of a set of maps, and store it in ``maps.metadata["calibration"]``.

    Args:
        pipe: a `LinEASDiffusionPipeline`, or any diffusers pipeline.
        maps: to be calibrated.
        measure: pictures -> amount of style (n,), any unit; see `clip_measure`.
        prompts: without the concept, such as the concept's own source prompts.
        name: of the measure, stored beside the curve.
        points: strengths at which the style is measured, from 0 to 1.
        seed: prompt number i has noise seed + i at every strength.
        batch_size: pictures at once.
        **arguments: of the pipeline's calls.

    Returns:
        The curve: ``strengths`` from 0 to 1, ``values`` (the mean amount, made monotone and scaled to [0, 1]) and
        ``measure``.

    Raises:
        LineaError: fewer than 3 points, no prompts, or maps at whose strength 1 there is no more style than at 0.
    """
    count = as_whole(points)
    if count is None or count < 3 or not prompts:
        raise LineaError(
            f"got {short(points)} points and {len(prompts)} prompts: expected at least 3 points and some prompts"
        )
    seed, strengths = check_seed(seed), np.linspace(0, 1, count)
    base, seeds = getattr(pipe, "base", pipe), range(seed, seed + len(prompts))
    given = {**for_base(base, {**getattr(pipe, "default_arguments", {}), **arguments}), "batch_size": batch_size}
    means = []
    with noticing(base, prompts, hint=False):  # a concept that has them from files has told
        for strength in tqdm(strengths.tolist(), desc="calibrate", unit="strength"):
            with maps.apply(base, strength):
                means.append(float(measure(render_prompts(base, prompts, seeds, **given)).mean()))
    rising = isotonic(np.array(means))
    if not rising[-1] > rising[0]:
        raise LineaError(
            f"got maps with {means[0]:.4f} of the style at strength 0 and {means[-1]:.4f} at 1 by {name}: expected a "
            "rise; train the maps longer, or measure what they are for"
        )
    values = (rising - rising[0]) / (rising[-1] - rising[0])
    curve = {"strengths": strengths.round(6).tolist(), "values": values.round(6).tolist(), "measure": name}
    maps.metadata["calibration"] = curve
    return curve


def isotonic(values: np.ndarray) -> np.ndarray:
    """The non-decreasing sequence nearest to `values` in the mean square, by pooling adjacent violators."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        mean, count = value, 1
        while blocks and blocks[-1][0] >= mean:
            before, size = blocks.pop()
            mean, count = (before * size + mean * count) / (size + count), size + count
        blocks.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in blocks])
