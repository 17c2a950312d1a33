"""Fields for what jobs leave out: what no job could have is refused once, before anything is loaded or read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .expanding import check_strengths, count_images
from .fields import CHECKS, DIALS, check_window, dial_of, names_of, number_of, plain, strength_of, text_of
from .fingerprint import digest
from .pictures import is_picture, picture_digest


def check_defaults(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults under the names that pipelines have for them.

    Raises:
        LineaError: a value that is wrong for every job.
    """
    given = plain(defaults)
    for name, value in given.items():
        if name in CHECKS:
            CHECKS[name](value, name)
        elif name in DIALS:
            dial_of(name, value)
        elif is_picture(name, value):
            picture_digest(value)
    check_window(given)
    count_images({"seed": 0, **given})
    names_of(given.get("steering"))
    for strength in check_strengths(given.get("strength", 0)):
        for one in strength.values() if isinstance(strength, Mapping) else [strength]:
            strength_of(one, "strength")
    if "denoising_strength" in given:
        number_of(given["denoising_strength"], "denoising_strength")
    for name in ("prompt", "negative_prompt"):
        if name in given:
            text_of(given[name], name, empty=name == "negative_prompt")
    digest(given)
    return given
