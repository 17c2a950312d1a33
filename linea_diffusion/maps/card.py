"""The model card: what a set of steering maps is, and how to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from .facts import TEXT, Facts

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def formula(rank: int) -> str:
    """What maps of a rank do, in letters.

    Args:
        rank: the largest one of the maps; 0 if all of them are coordinate-wise.
    """
    if not rank:
        return "T(z) = z + strength * ((w - 1) * z + b), coordinate by coordinate"
    return f"T(z) = z + strength * ((w - 1) * z + U V^T z + b), with U and V of rank {rank} or less"


@dataclass(frozen=True)
class Samples:
    """A row of pictures that a model card shows.

    Attributes:
        prompt: of all of them.
        images: strength -> picture, from one noise.
    """

    prompt: str
    images: Mapping[float, Image.Image]

    def files(self) -> dict[str, bytes]:
        """File name -> PNG."""
        return {_picture(strength): _png(image) for strength, image in self.images.items()}


def _picture(strength: float) -> str:
    return f"images/strength-{strength:.2f}.png"


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def model_card(config: Mapping[str, Any], repo_id: str | None = None, samples: Samples | None = None) -> str:
    """Markdown with YAML front matter, as the Hugging Face Hub reads it.

    Args:
        config: the contents of ``config.json``.
        repo_id: where the maps will be on the Hub; without it the example names a folder.
        samples: pictures to show.
    """
    facts = Facts.of(config)
    concept = " ".join((facts.concept or "a concept").split())
    base = facts.base_model or "unknown"
    rank = max((shape[2] for shape in config["modules"].values() if len(shape) == 3), default=0)
    source = json.dumps(repo_id or "path/to/this/folder")
    example = (_TEXT_EXAMPLE if facts.task == TEXT else _EXAMPLE).format(base=json.dumps(base), source=source)
    return (
        f"---\n{_front_matter(facts, base, samples)}---\n\n# {concept}: steering maps\n\n{_row(samples)}"
        f"{len(config['modules'])} affine maps learned by LinEAS (arXiv 2503.10679) for "
        f"`{' '.join(base.split())}`. Strength 0 is the base model, 1 the concept.\n\n"
        f"Each map does this to an activation z: `{formula(rank)}`.\n\n"
        f"```python\n{example}```\n{_dial(facts)}"
    )


_EXAMPLE = """\
from linea_diffusion import LinEASDiffusionPipeline

pipe = LinEASDiffusionPipeline.from_pretrained({base})
pipe.load_steering({source})
image = pipe("a red heart", strength=0.7).images[0]
"""
_TEXT_EXAMPLE = """\
from linea_diffusion import LinEASLanguageModel

model = LinEASLanguageModel.from_pretrained({base})
model.load_steering({source})
text = model.generate("Once upon a time", strength=0.7, max_new_tokens=40)[0]
"""


def _row(samples: Samples | None) -> str:
    """A table of pictures under their strengths."""
    if samples is None:
        return ""
    strengths = list(samples.images)
    lines = [
        " | ".join(f"{one:g}" for one in strengths),
        " | ".join("---" for _ in strengths),
        " | ".join(f"![strength {one:g}]({_picture(one)})" for one in strengths),
    ]
    return f"`{' '.join(samples.prompt.split())}` at strengths\n\n" + "\n".join(f"| {one} |" for one in lines) + "\n\n"


def _dial(facts: Facts) -> str:
    """How the strength is to be read, where it was calibrated."""
    if facts.calibration is None:
        return ""
    return (
        f"\nStrengths from 0 to 1 are even steps of what is seen (calibrated by {facts.calibration['measure']}); below "
        "0 and above 1 they are shares of the way in activations.\n"
    )


def _front_matter(facts: Facts, base: str, samples: Samples | None) -> str:
    task, library = ("text-generation", "transformers") if facts.task == TEXT else ("text-to-image", "diffusers")
    lines = ["library_name: linea-diffusion", f"pipeline_tag: {task}"]
    if _HUB_ID.fullmatch(base) and not Path(base).exists():
        # quoted as JSON, which is YAML: a name such as 1/2 stays text
        lines += [f"base_model: {json.dumps(base)}", "base_model_relation: adapter"]
    lines += ["tags:", "- activation-steering", f"- {library}", "- lineas", f"- {task}"]
    if samples is not None:
        lines.append("widget:")
        for strength in samples.images:
            lines.append(f"- text: {json.dumps(f'{samples.prompt} (strength {strength:g})')}")
            lines += ["  output:", f"    url: {_picture(strength)}"]
    return "\n".join(lines) + "\n"
