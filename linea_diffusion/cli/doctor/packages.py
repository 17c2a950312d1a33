"""The packages that are installed: their versions, and which extras are missing for which commands."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from ... import __version__

DISTRIBUTION = "linea-diffusion"
NAMED = ("torch", "diffusers", "transformers", "accelerate", "open_clip_torch", "huggingface_hub", "safetensors")
"""Packages whose versions say how models run."""
EXTRAS = {
    "lora": "models with a LoRA: --lora of every command",
    "templates": "variants and wildcards in prompts of linea batch",
    "ray": "linea batch --ray, and folders of s3://",
    "studio": "linea studio",
    "serve": "examples/service.py",
    "notebooks": "notebooks, and explore with its dials",
}
"""Extra -> what wants it."""


def versions() -> dict[str, str]:
    """Package -> version: this one, Python, and what models run with."""
    ours = {DISTRIBUTION: __version__, "Python": platform.python_version()}
    return ours | {name: version_of(name) or "missing" for name in NAMED}


def missing_extras() -> dict[str, list[str]]:
    """Extra -> what it asks for and is not here, or not in a version that it takes; empty lists where nothing lacks."""
    wanted = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    return {extra: list(_missing(wanted, extra)) for extra in EXTRAS}


def _missing(wanted: Iterable[Requirement], extra: str) -> Iterable[str]:
    for one in wanted:
        if one.marker is None or one.marker.evaluate({"extra": ""}) or not one.marker.evaluate({"extra": extra}):
            continue
        have = version_of(one.name)
        if have is None or not one.specifier.contains(have, prereleases=True):
            yield f"{one.name}{one.specifier}" + (f" (here {have})" if have else "")


def version_of(name: str) -> str | None:
    """Of an installed package; None where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
