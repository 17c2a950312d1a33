"""Which CLIP can judge which model's pictures: the embedded one knows embedded models' alone."""

from __future__ import annotations

import warnings

from ..errors import LineaError
from ..shapeland import CLIPS, MODELS

EMBEDDED_CLIP = next(iter(CLIPS))
"""The CLIP that is used where none is named."""
REAL_CLIP = "--clip ViT-L-14-quickgelu --clip-weights openai"
"""What is named to people whose pictures it does not know; open_clip has many more."""


def fits(clip: str | None, model: str) -> bool:
    """Whether a CLIP, or the one that is used where none is named, has seen pictures like a model's."""
    return model in MODELS or (clip is not None and clip not in CLIPS)


def clip_for(clip: str | None, model: str) -> str:
    """The CLIP that is named, or the embedded one for embedded models.

    The embedded one on pictures of another model is used if it is named, with a warning.

    Raises:
        LineaError: none is named, for pictures of another model.
    """
    why = f"{EMBEDDED_CLIP} has seen Shapeland only, and its scores of other pictures mean nothing"
    if fits(clip, model):
        return clip or EMBEDDED_CLIP
    if clip is None:
        raise LineaError(f"got no --clip for pictures of {model}: {why}; expected {REAL_CLIP}, or another one")
    warnings.warn(f"got --clip {clip} for pictures of {model}: {why}; expected {REAL_CLIP}, or the like", stacklevel=2)
    return clip
