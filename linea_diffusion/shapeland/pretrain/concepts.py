"""Writes the prompt sets of Shapeland's styles: 32 + 32 captions that are not held out, contents in balance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..captions import HELD_OUT_PAIRS, PLAIN_WORDINGS, STYLED_WORDINGS, is_held_out
from ..objects import COLORS, OBJECTS
from ..styles import STYLES

_PROMPTS = 32


def write(folder: Path) -> None:
    """Write one TOML file per style into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for style in STYLES:
        objects = [thing for thing in OBJECTS if (thing, style) not in HELD_OUT_PAIRS]
        source = _balanced(PLAIN_WORDINGS, objects, style)
        target = _balanced(STYLED_WORDINGS, objects, style)
        lines = [f'name = "{style}"', f'text = "a picture in {style} style"', 'neutral = "a picture of something"']
        for side, prompts in (("source", source), ("target", target)):
            lines += [f"{side} = [", *(f'  "{prompt}",' for prompt in prompts), "]"]
        (folder / f"{style.replace(' ', '-')}.toml").write_text("\n".join(lines) + "\n")


def _balanced(wordings: Sequence[str], objects: Sequence[str], style: str) -> list[str]:
    """Prompts that go round objects, colours and wordings; a held-out caption moves on to the next wording.

    Both sides of a concept go round in the same way, so that their laws differ by the style and not by contents.
    """
    prompts: list[str] = []
    for number in range(_PROMPTS):
        thing = objects[number % len(objects)]
        color = list(COLORS)[(number + number // len(objects)) % len(COLORS)]
        wording = number * 5
        while True:
            prompt = wordings[wording % len(wordings)].format(object=thing, color=color, style=style)
            if not is_held_out(prompt) and prompt not in prompts:
                break
            wording += 1
        prompts.append(prompt)
    return prompts
