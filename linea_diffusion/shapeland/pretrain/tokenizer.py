"""The vocabulary of Shapeland: byte-level BPE in CLIP's layout, where every caption word is one token."""

from __future__ import annotations

from itertools import pairwise

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from ..captions import AMOUNT_WORDS, PARTIAL_WORDINGS, PLAIN_WORDINGS, STYLED_WORDINGS
from ..objects import COLORS, OBJECTS
from ..styles import STYLES

CONTEXT_LENGTH = 24
_END = "</w>"


def caption_words() -> list[str]:
    """Every word that a caption may use, sorted."""
    texts = [*PLAIN_WORDINGS, *STYLED_WORDINGS, *OBJECTS, *COLORS, *STYLES]
    texts += [wording for wordings in PARTIAL_WORDINGS.values() for wording in wordings]
    texts += [adverb for *_, adverbs in AMOUNT_WORDS for adverb in adverbs]
    words = {word for text in texts for word in text.replace(",", " ").split() if "{" not in word}
    return sorted(words)


def build() -> CLIPTokenizer:
    """CLIP's byte alphabet plus merges that spell each caption word; padding repeats the end token."""
    alphabet = list(bytes_to_unicode().values())
    tokens = dict.fromkeys([*alphabet, *(letter + _END for letter in alphabet)])
    merges: dict[tuple[str, str], None] = {}
    for word in caption_words():
        pieces = _apply_merges([*word[:-1], word[-1] + _END], list(merges))
        while len(pieces) > 1:
            merges[pieces[0], pieces[1]] = None
            pieces = _apply_merges(pieces, list(merges))
    tokens.update(dict.fromkeys(left + right for left, right in merges))
    vocab = {token: index for index, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=list(merges), model_max_length=CONTEXT_LENGTH)
    broken = [word for word in caption_words() if len(tokenizer(word).input_ids) != 3]
    if len(tokenizer) != len(vocab) or broken:
        raise RuntimeError(f"got {len(tokenizer)} tokens and split words {broken}: expected {len(vocab)} and none")
    return tokenizer


def _apply_merges(pieces: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """BPE: apply the earliest merge that fits anywhere until none does."""
    order = {pair: rank for rank, pair in enumerate(merges)}
    while True:
        pairs = [(order.get((a, b), len(order)), i) for i, (a, b) in enumerate(pairwise(pieces))]
        rank, i = min(pairs, default=(len(order), 0))
        if rank == len(order):
            return pieces
        pieces = [*pieces[:i], pieces[i] + pieces[i + 1], *pieces[i + 2 :]]
