"""The grammar of Wordland: texts whose tone, topic and register are known, and the same grammar as their judge."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from .vocabulary import DEEDS, NAMES, NOTES, PLAIN, REGISTERS, THINGS, TONE_SLOTS, TONED, TONES, TOPICS


@dataclass(frozen=True)
class Theme:
    """What a text is like, from its first sentence to its last.

    Attributes:
        tone: ``friendly`` or ``rude``.
        topic: one of `TOPICS`.
        register: ``casual`` or ``formal``.
        name: of the person whom it is about.
    """

    tone: str
    topic: str
    register: str
    name: str


def draw_theme(rng: np.random.Generator, **fixed: str) -> Theme:
    """A theme by chance, but for what is fixed."""
    theme = Theme(_one(rng, TONES), _one(rng, TOPICS), _one(rng, REGISTERS), _one(rng, NAMES))
    return replace(theme, **fixed)


def write_sentence(rng: np.random.Generator, theme: Theme, *, toned: bool) -> str:
    """A sentence of a theme, with its tone or with none; words and signs stand apart."""
    thing, other = (str(one) for one in rng.choice(THINGS[theme.topic], 2, replace=False))
    words = {name: _one(rng, by_tone[theme.tone]) for name, by_tone in TONE_SLOTS.items()}
    words |= {"name": theme.name, "deed": _one(rng, DEEDS[theme.topic]), "thing": thing, "other": other}
    return _one(rng, (TONED if toned else PLAIN)[theme.register]).format(**words)


def write_text(rng: np.random.Generator, theme: Theme | None = None) -> str:
    """A text: one or two sentences without tone, then two or three with it, and some without between.

    A fifth of the texts begin with a note that asks for their tone or register.
    """
    theme = theme or draw_theme(rng)
    sentences = [NOTES[_one(rng, (theme.tone, theme.register))]] if rng.random() < 0.2 else []
    sentences += [write_sentence(rng, theme, toned=False) for _ in range(rng.integers(1, 3))]
    for _ in range(rng.integers(2, 4)):
        if rng.random() < 0.2:
            sentences.append(write_sentence(rng, theme, toned=False))
        sentences.append(write_sentence(rng, theme, toned=True))
    return " ".join(sentences)


def write_prompts(count: int, seed: int, *, toned: bool = False, **fixed: str) -> list[str]:
    """Beginnings of texts, each another: a sentence without tone, and if wanted one with it.

    Args:
        count: how many.
        seed: of all of them.
        toned: whether a second sentence shows the tone.
        **fixed: of the themes, such as ``tone="rude"``.
    """
    rng, prompts = np.random.default_rng(seed), dict[str, None]()
    while len(prompts) < count:
        theme = draw_theme(rng, **fixed)
        sentences = [write_sentence(rng, theme, toned=one) for one in ([False, True] if toned else [False])]
        prompts[" ".join(sentences)] = None
    return list(prompts)


def write_sentences(count: int, seed: int, **fixed: str) -> list[str]:
    """Single sentences that show their tone, each another; the same seed has the same rows of other attributes.

    Args:
        count: how many.
        seed: of all of them.
        **fixed: of the themes, such as ``tone="rude"``.
    """
    rng, sentences = np.random.default_rng(seed), dict[str, None]()
    while len(sentences) < count:
        sentences[write_sentence(rng, draw_theme(rng, **fixed), toned=True)] = None
    return list(sentences)


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return str(choices[int(rng.integers(len(choices)))])


@dataclass(frozen=True)
class Reading:
    """What the grammar says of a text.

    Attributes:
        tones: tone -> how many of its words there are.
        topics: topic -> how many of its words there are.
        registers: register -> how many of its sentences there are.
        sentences: how many, the last one even if it has no end.
        right: how many of them the grammar can write.
    """

    tones: Mapping[str, int]
    topics: Mapping[str, int]
    registers: Mapping[str, int]
    sentences: int
    right: int


def read_text(text: str) -> Reading:
    """What the grammar says of a text, whoever wrote it; the words of its tone are counted, wherever they stand."""
    sentences = split_sentences(text)
    words = _joined(" ".join(sentences)).split()
    kinds = [kind for kind in map(_kind_of, sentences) if kind is not None]
    return Reading(
        {tone: sum(word in _tone_words(tone) for word in words) for tone in TONES},
        {topic: sum(word in (*THINGS[topic], *DEEDS[topic]) for word in words) for topic in TOPICS},
        {register: kinds.count(register) for register in REGISTERS},
        len(sentences),
        len(kinds),
    )


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, with words and signs apart as the grammar writes them."""
    spaced = re.sub(r"\s*([.,!:])\s*", r" \1 ", text)
    return [" ".join(part.split()) for part in re.findall(r"[^.!]+[.!]?", spaced) if part.strip()]


@cache
def _tone_words(tone: str) -> frozenset[str]:
    return frozenset(_joined(filler) for by_tone in TONE_SLOTS.values() for filler in by_tone[tone])


def _joined(text: str) -> str:
    """A text in which what fills one slot is one word: who gets lost has lost no race."""
    for filler in (filler for by_tone in TONE_SLOTS.values() for tone in TONES for filler in by_tone[tone]):
        text = text.replace(filler, filler.replace(" ", "_"))
    return text


def _kind_of(sentence: str) -> str | None:
    """The register of a sentence that the grammar can write, ``note`` for a note; None for any other."""
    if sentence in NOTES.values():
        return "note"
    return next((register for register, pattern in _patterns().items() if pattern.fullmatch(sentence)), None)


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    slots = {"name": _any(NAMES), "deed": _any(one for words in DEEDS.values() for one in words)}
    slots["thing"] = slots["other"] = _any(one for words in THINGS.values() for one in words)
    slots |= {name: _any(one for words in by_tone.values() for one in words) for name, by_tone in TONE_SLOTS.items()}
    return {
        register: re.compile(_any(_escaped(one).format(**slots) for one in (*PLAIN[register], *TONED[register])))
        for register in REGISTERS
    }


def _escaped(wording: str) -> str:
    """A wording as a regular expression whose slots are still open."""
    return re.escape(wording).replace(r"\{", "{").replace(r"\}", "}")


def _any(choices: Iterable[str]) -> str:
    return f"(?:{'|'.join(choices)})"
