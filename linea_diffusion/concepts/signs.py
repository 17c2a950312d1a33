"""Other programs' signs in prompts, which say nothing here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable

from ..errors import short

# Each form is found in a time that grows with the text and no faster.
_SIGNS = {
    "alternatives": (re.compile(r"\{[^{}]*\}"), "write alternatives as {a,b} in jobs of linea batch"),
    "wildcards": (
        re.compile(r"__(?=[^\W_])[\w./*-]{0,80}?[^\W_]__"),
        "give each word of a list a prompt of its own, or {a,b} in jobs of linea batch",
    ),
    "weights": (
        re.compile(r"\([^()]*:\s*(\d?\.\d+|\d)\s*\)"),
        "weigh a style by its strength, and words through prompt_embeds=",
    ),
    "networks": (
        re.compile(r"<(lora|lyco|hypernet):[^<>]+>", re.IGNORECASE),
        "load a LoRA with --lora, in Python with load_lora_weights",
    ),
}
"""What a sign is for -> its form, and what to use here."""
_CONDITIONS = {"alternatives": re.compile(r"\|"), "weights": re.compile(r"[^\W\d_]\s*:[^:]*$|[^\W\d_].*\.\d")}
"""What a sign must also have, because people write braces, and numbers such as (John 3:16), for themselves."""


def foreign_signs(prompts: Iterable[str]) -> dict[str, str]:
    """What such signs are for -> the first of them, as the prompts have it."""
    signs: dict[str, str] = {}
    for prompt in prompts:
        for kind in _SIGNS.keys() - signs.keys():
            matches = (match.group() for match in _SIGNS[kind][0].finditer(prompt))
            sign = next((one for one in matches if kind not in _CONDITIONS or _CONDITIONS[kind].search(one)), None)
            if sign is not None:
                signs[kind] = sign
    return {kind: signs[kind] for kind in _SIGNS if kind in signs}


def hint_at_syntax(prompts: Iterable[str], *, stacklevel: int = 3) -> bool:
    """Warn, once for all prompts, of signs that do nothing here; returns whether there are any."""
    signs = foreign_signs(prompts)
    if signs:
        ways = "; ".join(_SIGNS[kind][1] for kind in signs)
        warnings.warn(
            f"got {', '.join(map(short, signs.values()))} in prompts, signs of other programs that are read as plain "
            f"words here: expected words only; {ways}",
            stacklevel=stacklevel,
        )
    return bool(signs)
