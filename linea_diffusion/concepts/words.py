"""Words that a tokenizer can only spell: the model has hardly seen them, so that they say little to it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

from ..errors import short

_WORD = re.compile(r"[A-Za-z]{3,}")
_FILLING = frozenset(
    [
        "the",
        "and",
        "with",
        "for",
        "from",
        "into",
        "over",
        "under",
        "its",
        "his",
        "her",
        "their",
        "this",
        "that",
        "some",
        "more",
        "very",
        "one",
        "two",
    ]
)
"""Words that nobody misses in a picture."""
_SHOWN = 5
_SPELLED: WeakKeyDictionary[Any, dict[str, bool]] = WeakKeyDictionary()


def spelled_words(texts: Iterable[str], tokenizers: Iterable[Any], pieces: Callable[[Any, str], int]) -> list[str]:
    """Words of some texts that every tokenizer can only spell, in pieces of less than two letters on average.

    Only words of Latin letters are looked at: other scripts are spelled by many tokenizers that know them well.

    Args:
        texts: to be read.
        tokenizers: none means that nothing is known.
        pieces: how many tokens a tokenizer makes of a word.
    """
    tokenizers = list(tokenizers)
    words = dict.fromkeys(word.lower() for text in texts for word in _WORD.findall(text))
    looked_at = [word for word in words if tokenizers and word not in _FILLING]
    return [word for word in looked_at if all(_spells(one, word, pieces) for one in tokenizers)]


def _spells(tokenizer: Any, word: str, pieces: Callable[[Any, str], int]) -> bool:
    known = _SPELLED.setdefault(tokenizer, {})
    if word not in known:
        count = pieces(tokenizer, word)
        known[word] = count > 2 and 2 * count > len(word)
    return known[word]


def tell_spelled(pipe: Any, texts: Iterable[str], *, stacklevel: int = 3) -> bool:
    """Warn, once for all texts, of words that no tokenizer of a pipeline knows; returns whether there are any."""
    tokenizers = [one for one in pipe.components.values() if isinstance(one, PreTrainedTokenizerBase)]
    words = spelled_words(texts, tokenizers, lambda tokenizer, word: len(tokenizer.tokenize(word)))
    if words:
        warnings.warn(
            f"got {listed_words(words)} in prompts, which the model's tokenizer does not know: expected words that it "
            "was trained on; these are spelled letter by letter and will hardly show",
            stacklevel=stacklevel,
        )
    return bool(words)


def listed_words(words: list[str]) -> str:
    """The first of some words, and how many more there are."""
    more = f" and {len(words) - _SHOWN} more words" if len(words) > _SHOWN else ""
    return ", ".join(map(short, words[:_SHOWN])) + more
