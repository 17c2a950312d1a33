"""Writes the prompt sets of Shapeland's styles, 32 + 32 captions that are not held out, in balance, and levels; and of
Wordland's attributes, 32 + 32 sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..captions import HELD_OUT_PAIRS, PLAIN_WORDINGS, STYLED_WORDINGS, is_held_out
from ..objects import COLORS, OBJECTS
from ..styles import STYLES
from ..wordland.grammar import write_sentences
from ..wordland.vocabulary import REGISTERS, TONES

_PROMPTS = 32
LEVEL_WORDS = {0.25: "slightly", 0.5: "half", 0.75: "strongly"}
"""Strength of a level -> the adverb of `AMOUNT_WORDS` that asks for it."""


def write(folder: Path) -> None:
    """Write one TOML file per style into `folder`, and one per attribute of texts into ``folder/wordland``.

    A level's prompts are the targets with an adverb before the style. Some of these are of the held-out eighth; what
    is judged are plain captions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for style in STYLES:
        objects = [thing for thing in OBJECTS if (thing, style) not in HELD_OUT_PAIRS]
        source = _balanced(PLAIN_WORDINGS, objects, style)
        target = _balanced(STYLED_WORDINGS, objects, style)
        lines = [f'name = "{style}"', f'text = "a picture in {style} style"', 'neutral = "a picture of something"']
        lines += [*_listed("source", source), *_listed("target", target)]
        for strength, adverb in LEVEL_WORDS.items():
            less = [prompt.replace(style, f"{adverb} {style}") for prompt in target]
            lines += ["", "[[levels]]", f"strength = {strength}", *_listed("target", less)]
        (folder / f"{style.replace(' ', '-')}.toml").write_text("\n".join(lines) + "\n")

    (folder / "wordland").mkdir(exist_ok=True)
    for kind, (one, other) in {"tone": TONES, "register": REGISTERS}.items():
        for before, after in ((one, other), (other, one)):
            lines = [f'name = "{after}"', f'text = "a {after} text"', f'neutral = "a {before} text"']
            lines += _listed("source", write_sentences(_PROMPTS, 0, **{kind: before}))
            lines += _listed("target", write_sentences(_PROMPTS, 1, **{kind: after}))
            (folder / "wordland" / f"{after}.toml").write_text("\n".join(lines) + "\n")


def _listed(key: str, prompts: Sequence[str]) -> list[str]:
    return [f"{key} = [", *(f'  "{prompt}",' for prompt in prompts), "]"]


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
