"""Tokenizers of transformers' real classes over a short word list: different prompts give different ids."""

from __future__ import annotations

from functools import cache
from string import ascii_lowercase, digits, punctuation

from transformers import BertTokenizer, CLIPTokenizer, T5Tokenizer, XLMRobertaTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

WORDS = (
    *("a", "an", "the", "of", "in", "on", "at", "and", "with", "is", "one", "two", "there", "no", "not", "by", "style"),
    *("red", "blue", "green", "yellow", "orange", "purple", "pink", "black", "white", "gray", "brown", "gold"),
    *("heart", "fish", "star", "cat", "dog", "tree", "house", "boat", "bird", "flower", "cup", "car", "moon", "sun"),
    *("picture", "photo", "drawing", "painting", "watercolor", "pencil", "sketch", "pixel", "art", "neon", "mosaic"),
    *("blurry", "ugly", "low", "high", "quality", "bright", "dark", "small", "big", "paper", "table", "water", "sky"),
    *(
        "sharp",
        "worst",
        "best",
        "detailed",
        "soft",
        "old",
        "new",
        "plain",
        "simple",
        "people",
        "person",
        "man",
        "woman",
    ),
)
_LETTERS = (*ascii_lowercase, *ascii_lowercase.upper(), *digits, *punctuation)
_END = "</w>"


def clip_tokenizer(max_length: int = 77) -> CLIPTokenizer:
    """CLIP's byte-level BPE, padded with the end token; every other word falls apart into letters."""
    vocab, merges = _clip_vocabulary()
    return _checked(CLIPTokenizer(vocab=dict(vocab), merges=list(merges), model_max_length=max_length), len(vocab))


def t5_tokenizer(max_length: int = 512) -> T5Tokenizer:
    """T5's Unigram model with whole words likelier than letters, and no sentinel tokens."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_unigram_pieces()]
    return _checked(T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=max_length), len(pieces))


def bert_tokenizer(max_length: int = 77) -> BertTokenizer:
    """BERT's WordPiece with whole words, and letters that begin or continue a word."""
    tokens = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *_LETTERS])
    tokens.update(dict.fromkeys("##" + letter for letter in _LETTERS))
    vocab = {token: index for index, token in enumerate(tokens)}
    return _checked(BertTokenizer(vocab=vocab, model_max_length=max_length), len(vocab))


def xlm_roberta_tokenizer(max_length: int = 77) -> XLMRobertaTokenizer:
    """XLM-RoBERTa's Unigram model with whole words likelier than letters."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*((token, 0.0) for token in special), *_unigram_pieces(), ("<mask>", 0.0)]
    return _checked(XLMRobertaTokenizer(vocab=pieces, model_max_length=max_length), len(pieces))


@cache
def _clip_vocabulary() -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, str], ...]]:
    """The byte alphabet, then every word's beginnings, then the two special tokens; and the merges that spell them."""
    alphabet = bytes_to_unicode().values()
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        letters = [*word[:-1], word[-1] + _END]
        merges.update(dict.fromkeys(("".join(letters[:i]), letters[i]) for i in range(1, len(letters))))
    tokens = dict.fromkeys([*alphabet, *(letter + _END for letter in alphabet)])
    tokens.update(dict.fromkeys(left + right for left, right in merges))
    names = [*tokens, "<|startoftext|>", "<|endoftext|>"]
    return tuple((name, index) for index, name in enumerate(names)), tuple(merges)


def _unigram_pieces() -> list[tuple[str, float]]:
    """Words with the mark of a space, that mark alone, and letters, with their log-likelihoods."""
    marked = dict.fromkeys("▁" + word for word in WORDS)
    return [*((word, -1.0) for word in marked), ("▁", -5.0), *((letter, -5.0) for letter in _LETTERS)]


def _checked(tokenizer, size: int):
    """The tokenizer, if its vocabulary arrived and three prompts get three lists of known ids."""
    prompts = ("a red heart", "a blue fish", "")
    ids = {tuple(tokenizer(prompt).input_ids) for prompt in prompts}
    if len(tokenizer) != size or len(ids) != len(prompts):
        raise RuntimeError(f"{type(tokenizer).__name__} has {len(tokenizer)} tokens, not {size}, and spells {ids}")
    return tokenizer
