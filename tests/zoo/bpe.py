"""Byte pair merges that make whole words of a short list one token each."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from re import findall

from transformers.convert_slow_tokenizer import bytes_to_unicode

from .words import WORDS

INSTRUCTION_WORDS = (
    *("Describe", "describe", "image", "detailing", "color", "shape", "size", "texture", "quantity", "text", "spatial"),
    *("relationships", "objects", "background", "system", "user", "assistant", "Comprehend", "analyze", "provided"),
    *("prompt", "Prompt", "Start", "You", "you", "are", "generate", "designed", "to", "images", "superior", "degree"),
    *("alignment", "based", "textual", "prompts", "or", "think"),
)


@cache
def byte_level(texts: str) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, str], ...]]:
    """The byte alphabet and whole words with and without a space before them; and the merges that spell them."""
    alphabet = bytes_to_unicode()
    spelled = ("".join(alphabet[byte] for byte in word.encode()) for word in words_of(texts))
    merges = merges_of(spaced for word in spelled for spaced in (alphabet[ord(" ")] + word, word))
    tokens = dict.fromkeys([*alphabet.values(), *map("".join, merges)])
    return tuple((token, index) for index, token in enumerate(tokens)), merges


def words_of(texts: str) -> tuple[str, ...]:
    """Our own words and those of the texts."""
    return tuple(dict.fromkeys([*WORDS, *INSTRUCTION_WORDS, *findall(r"[A-Za-z]+", texts)]))


def printable() -> list[str]:
    """Printable ASCII characters but the space, and the line break."""
    return ["\n", *map(chr, range(33, 127))]


def merges_of(words: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Merges that make every word one token, each word's after those before it."""
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        symbols = _spelled(list(word), ranks)
        while len(symbols) > 1:
            ranks.setdefault((symbols[0], symbols[1]), len(ranks))
            symbols[:2] = [symbols[0] + symbols[1]]
    return tuple(ranks)


def _spelled(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """The symbols after all merges known so far."""
    while known := [(ranks[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in ranks]:
        _, i = min(known)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
    return symbols
