"""What is written about an image: its line of metadata with CLIP figures, the recipe in its file, a failure's line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from .. import __version__
from ..concepts.concept import StyleTexts
from ..errors import LineaError, clipped
from ..maps.facts import Facts
from ..pipelines.rendering.render import FlaggedError
from ..scoring.formulas import score_pictures
from .folder.folder import Row, failure
from .jobs.field_names import META
from .jobs.fields import DIALS
from .jobs.jobs import Job
from .jobs.steering_sets import SteeringSets

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer


COLUMNS = (
    "file_name", "prompt", "negative_prompt", "seed", "steering", "strength", "steering_sha256", "steps", "guidance",
    "width", "height", "arguments", "model", "nsfw", "line", "part",
)  # fmt: skip
"""What is known of every image, beside the figures and the columns of its line."""
_COLUMN_ARGUMENTS = ("num_inference_steps", "guidance_scale", "width", "height")


def metadata_row(
    job: Job, image: Image.Image, *, model: str, figures: Mapping[str, float | None], nsfw: bool | None = None
) -> dict[str, Any]:
    """What is known of an image, of which `folder.columns` makes a line of metadata.jsonl.

    `nsfw` is what the model's safety checker said: False for every picture that is kept, None where there is none.
    """
    others = {name: value for name, value in job.arguments.items() if name not in _COLUMN_ARGUMENTS}
    others |= {name: value for name, value in job.dials.items() if value != DIALS[name]}
    if any(job.on_curve.values()) or job.calibrated is not None:
        others["calibrated"] = list(job.on_curve.values())
    guidance = job.arguments.get("guidance_scale")
    return {
        "file_name": job.file_name,
        "prompt": job.prompt,
        "negative_prompt": job.negative_prompt,
        "seed": job.seed,
        "steering": list(job.strength),
        "strength": list(job.strength.values()),
        "steering_sha256": [digest for digest, _ in job.recipe["steering"]],
        "steps": job.arguments.get("num_inference_steps"),
        "guidance": None if guidance is None else float(guidance),
        "width": image.width,
        "height": image.height,
        "arguments": json.dumps(others, sort_keys=True, ensure_ascii=False),
        "model": model,
        "nsfw": nsfw,
        **figures,
        "line": job.line,
        "part": job.part,
        **({META: dict(job.columns)} if job.columns else {}),
    }


def recipe_of(job: Job, *, model: str, sets: SteeringSets) -> dict[str, Any]:
    """What an image's file says about it; ``job`` is a line that asks for it again."""
    return {
        "job": job.fields(),
        "digest": job.digest,
        "model": model,
        "model_sha256": job.recipe["model"],
        "steering_sha256": {name: sets.digest(name) for name in job.strength},
        "dials": {name: sets.dial(name, job.on_curve[name]).name for name in job.strength},
        "software": f"linea-diffusion {__version__}",
    }


def failure_row(job: Job, error: LineaError) -> Row:
    """The line of a job that failed; ``fields`` are those of a line that asks for the image again."""
    columns = {f"{META}.{name}": value for name, value in job.columns.items()}
    nsfw = isinstance(error, FlaggedError)
    return failure(job.digest, job.line, job.part, clipped(str(error)), job.fields() | columns, nsfw=nsfw)


def bad_line_row(line: int, part: int, error: LineaError) -> Row:
    """The line of an input line, or of an image of it, that no job could be made of."""
    return failure(f"line {line} image {part}", line, part, clipped(str(error)), None)


SCORED = ("clip_prompt_cosine", "clip_style_cosine", "clip_style_probability")
"""The `SCORES` that lines have; those of a style's text are empty unless exactly one style with a text is named."""


def scores_of(
    scorer: ClipScorer | None, jobs: Sequence[Job], images: Sequence[Image.Image], sets: SteeringSets
) -> list[dict[str, float | None]]:
    """The `SCORED` figures of each image; nothing without a scorer."""
    if scorer is None or not jobs:
        return [{} for _ in jobs]
    vectors, texts = scorer.embed_images(images), [_texts(job, sets) for job in jobs]
    rows: list[dict[str, float | None]] = [{} for _ in jobs]
    for pair in dict.fromkeys(texts):
        places = [place for place, one in enumerate(texts) if one == pair]
        figures = score_pictures(scorer, vectors[places], texts=pair, prompts=[jobs[place].prompt for place in places])
        for place, scores in zip(places, figures, strict=True):
            rows[place] = {name: scores.get(name) for name in SCORED}
    return rows


def _texts(job: Job, sets: SteeringSets) -> StyleTexts | None:
    if len(job.strength) != 1:
        return None
    pair = Facts.of(sets[name := next(iter(job.strength))].metadata).pair
    return StyleTexts(name, *pair) if pair else None
