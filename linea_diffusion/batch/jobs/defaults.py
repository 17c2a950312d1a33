"""Fields for what jobs leave out: what no job could have is refused once, before anything is loaded or read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .expanding import Texts, check_strengths, count_images
from .fields import CHECKS, DIALS, check_window, dial_of, names_of, number_of, plain, strength_of, text_of
from .fingerprint import digest
from .input_images import is_picture, picture_digest


def check_defaults(defaults: Mapping[str, Any], texts: Texts | None = None) -> dict[str, Any]:
    """Defaults under the names that pipelines have for them.

    Raises:
        LineaError: a value that is wrong for every job.
    """
    fields = plain(defaults)
    for name, value in fields.items():
        if name in CHECKS:
            CHECKS[name](value, name)
        elif name in DIALS:
            dial_of(name, value)
            if name == "mask" and value is not None:
                picture_digest(value)
        elif is_picture(name, value):
            picture_digest(value)
    check_window(fields)
    count_images({"seed": 0, **fields}, texts)
    names_of(fields.get("steering"))
    for strength in check_strengths(fields.get("strength", 0)):
        for one in strength.values() if isinstance(strength, Mapping) else [strength]:
            strength_of(one, "strength")
    if "denoising_strength" in fields:
        number_of(fields["denoising_strength"], "denoising_strength")
    for name in ("prompt", "negative_prompt"):
        if name in fields:
            text_of(fields[name], name, empty=name == "negative_prompt")
    digest(fields)
    return fields
