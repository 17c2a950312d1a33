"""The vocabulary of Wordland: every word and every sign is one token."""

from __future__ import annotations

import re

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ..wordland.vocabulary import DEEDS, NAMES, NOTES, PLAIN, THINGS, TONE_SLOTS, TONED, Words

CONTEXT_LENGTH = 128
_SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def words() -> list[str]:
    """Every word and sign of the grammar, sorted."""
    kinds: list[Words] = [THINGS, DEEDS, PLAIN, TONED, *TONE_SLOTS.values()]
    texts = [*NAMES, *NOTES.values(), *(text for kind in kinds for several in kind.values() for text in several)]
    found = {word for text in texts for word in re.sub(r"\{\w+\}", " ", text).split()}
    return sorted(found)


def build() -> PreTrainedTokenizerFast:
    """One token for each word, a beginning before each text, padding on the left, as generating wants it."""
    vocab = {token: index for index, token in enumerate([*_SPECIAL.values(), *words()])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=_SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    beginning = _SPECIAL["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{beginning} $A", special_tokens=[(beginning, vocab[beginning])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side="left", model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=True, **_SPECIAL,
    )  # fmt: skip
