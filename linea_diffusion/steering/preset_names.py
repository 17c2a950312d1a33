"""The presets of modules by name, with what each chooses; known before anything heavy is imported."""

from __future__ import annotations

import re

from ..errors import LineaError

PRESET_MEANINGS = {
    "attention": "outputs of all attention layers of text encoders and denoiser: the default",
    "text-attention": "those of the text encoders alone",
    "denoiser-attention": "those of the denoiser alone",
    "cross-attention": "those of a U-Net's cross-attention, where pictures look at words",
    "norms": "normalisation layers of the denoiser: the paper's choice; of a language model, all of them",
    "post-norms": "those of a language model that are named after what they follow: the paper's choice for texts",
    "text-norms": "normalisation layers of the text encoders",
    "mlps": "feed-forward layers of the denoiser, or of a language model",
    "text-mlps": "feed-forward layers of the text encoders",
    "queries-keys": "query and key projections of the denoiser, or of a language model",
    "values": "value projections of the denoiser, or of a language model",
}
"""What `find_modules` knows by name, in the order of `presets.PRESETS`."""
PATTERNS = "an ending such as attn2 or to_v, or a regular expression for a whole name such as unet.*norm.*"
"""What else chooses modules, for help and errors."""


def check_pattern(entry: str) -> None:
    """Whether a text may choose modules.

    Raises:
        LineaError: it is empty, or no regular expression.
    """
    try:
        re.compile(entry)
    except re.error as error:
        raise LineaError(f"got module pattern {entry!r}: expected a preset or {PATTERNS} ({error})") from None
    if not entry.strip():
        raise LineaError(f"got module pattern {entry!r}: expected a preset or {PATTERNS}")


def presets_help() -> str:
    """All of it in one line, for the help of options."""
    return f"{'; '.join(f'{name} ({meaning})' for name, meaning in PRESET_MEANINGS.items())}; or {PATTERNS}."
