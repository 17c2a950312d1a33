"""What the paper's experiments begin with: captions, concepts, and how each distilled model wants to be called."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linea_diffusion import Concept
from linea_diffusion.concepts.files import MEBIBYTE, read_text
from linea_diffusion.concepts.prompt_files import prompt_lines
from linea_diffusion.errors import LineaError, reason
from linea_diffusion.evaluation.held_out import prompts_for
from linea_diffusion.pipelines.choices.schedulers import use_scheduler

STYLES = ("anime", "art-nouveau", "cyberpunk", "impressionism", "sketch", "watercolor-painting")
"""The styles of Linear-AcT (arXiv 2410.23054), as concepts of this package: 32 source and 32 target prompts each."""
REMOVAL = "object removal"
CALLS: dict[str, dict[str, Any]] = {
    "dmd2": {"scheduler": "lcm", "timesteps": {1: [399], 4: [999, 749, 499, 249]}},
    "lightning": {"scheduler": "euler", "spacing": "trailing"},
    "schnell": {},
}
"""A word in a distilled model's name -> its scheduler, and its timesteps by number of steps. All have no guidance."""


def coco_captions(file: Path) -> list[str]:
    """The first caption of each image of a file in COCO's format, or the lines of a text file.

    Raises:
        LineaError: neither.
    """
    if file.suffix != ".json":
        return list(prompt_lines(file))
    try:
        entries = json.loads(read_text(file, what="caption file", limit=512 * MEBIBYTE))["annotations"]
        pairs = sorted((one["image_id"], one["id"], " ".join(one["caption"].split())) for one in entries)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LineaError(
            f"got caption file {str(file)!r}: expected COCO's format, annotations with id, image_id and caption "
            f"({reason(error)})"
        ) from None
    first: dict[Any, str] = {}
    for image, _, caption in pairs:
        first.setdefault(image, caption)
    return [caption for caption in first.values() if caption]


def held_out(concept: Concept, model: str, captions: Sequence[str] | None, count: int, seed: int) -> list[str]:
    """Prompts that a concept is judged on: captions drawn by a seed, or without any those of the package.

    Of something that is to be removed they must speak.

    Raises:
        LineaError: there are none.
    """
    if captions is None:
        return prompts_for(concept, model, None, count)
    word = concept.name.removeprefix("remove ").removesuffix("s") if concept.kind == REMOVAL else ""
    fitting = [one for one in dict.fromkeys(captions) if word in one.lower() and one not in concept.source]
    if not fitting:
        raise LineaError(f"got no caption with {word!r} for {concept.name!r}: expected some; give more captions")
    return random.Random(seed).sample(fitting, min(count, len(fitting)))


def called(pipe: Any, model: str, steps: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of calls with so many steps; the pipeline gets the scheduler that its model was distilled for.

    Args:
        pipe: a `LinEASDiffusionPipeline`.
        model: its name, by the words in whose last part `CALLS` are found.
        steps: of denoising.
        given: arguments that go before all others.
    """
    known = next((one for word, one in CALLS.items() if word in Path(model).name.lower()), None)
    if known is None:
        return {"num_inference_steps": steps, **given}
    if "scheduler" in known:
        use_scheduler(pipe.base, known["scheduler"])
    if "spacing" in known:
        now = pipe.base.scheduler
        pipe.base.scheduler = type(now).from_config(now.config, timestep_spacing=known["spacing"])
    at = known.get("timesteps", {}).get(steps)
    logging.getLogger("diffusers.schedulers").setLevel(logging.ERROR)  # else a line at each call
    times = {} if at is None else {"timesteps": at}
    return {"num_inference_steps": steps, "guidance_scale": 0.0, **times, **given}
