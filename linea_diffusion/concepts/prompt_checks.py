"""Checks of a set of prompts: texts, whole characters, enough of them, each once."""

from __future__ import annotations

import warnings
from typing import Any

from ..errors import LineaError, short


def check_prompts(prompts: Any, side: str, owner: str) -> None:
    """Check that prompts are a tuple of texts with whole characters, none empty.

    Raises:
        LineaError: they are not; the error names the side and whose it is.
    """
    if not isinstance(prompts, list | tuple) or not all(isinstance(one, str) and one.strip() for one in prompts):
        raise LineaError(f"got {side} {short(prompts)} {owner}: expected a tuple of prompts, none empty")
    for prompt in prompts:
        check_characters(prompt, f"{side} prompt {short(prompt)}")


def check_characters(prompt: str, what: str) -> None:
    """Check that a prompt has whole characters only.

    Raises:
        LineaError: a lone surrogate, half of a character.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise LineaError(f"got {what} with half a character (a lone surrogate): expected whole ones")


def check_side(prompts: Any, side: str, name: str) -> None:
    """Check one side of a concept; warns, where the concept is made, of what is doubtful.

    Raises:
        LineaError: no prompts, or fewer than 2.
    """
    check_prompts(prompts, side, f"for concept {name!r}")
    if len(prompts) < 2:
        raise LineaError(f"got {len(prompts)} {side} prompts for concept {name!r}: expected at least 2, better 32")
    if len(prompts) < 4:
        _warn(
            f"got {len(prompts)} {side} prompts for concept {name!r}: expected about 32, because the distribution of "
            "activations cannot be estimated from so few; add prompts"
        )
    repeated = next((prompt for number, prompt in enumerate(prompts) if prompt in prompts[:number]), None)
    if repeated is not None:
        _warn(f"got {side} prompt {repeated!r} twice for concept {name!r}: expected prompts that differ; change one")


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=5)
