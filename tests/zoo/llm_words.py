"""Tokenizers and processors of language-model text encoders: transformers' real classes over a short word list."""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from transformers import (
    ByT5Tokenizer,
    GemmaTokenizer,
    GlmImageImageProcessor,
    GlmImageProcessor,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from .bpe import byte_level, merges_of, printable, words_of

QWEN_MARKS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
GLM_MARKS = (
    "<|endoftext|>",
    "[gMASK]",
    "<sop>",
    "<|user|>",
    "<|assistant|>",
    "<|image|>",
    "<|grid_bos|>",
    "<|grid_eos|>",
)
MISTRAL_MARKS = (
    *("<unk>", "<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    *("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
)
_WORD_BOUNDARIES = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
_TEXTS = (
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content if part.type == 'text' %}{{ part.text }}{% endfor %}{% endif %}"
)
_QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n" + _TEXTS + "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
_MISTRAL_CHAT = (
    "<s>{% for message in messages %}"
    "{% if message.role == 'system' %}[SYSTEM_PROMPT]" + _TEXTS + "[/SYSTEM_PROMPT]"
    "{% else %}[INST]" + _TEXTS + "[/INST]{% endif %}{% endfor %}"
)
_GLM_CHAT = "{% for message in messages %}<|user|>" + _TEXTS + "{% endfor %}<|assistant|>"


def qwen_tokenizer(texts: str = "") -> Qwen2Tokenizer:
    """Qwen's byte-level BPE, where the words of the list and of the texts given are one token each."""
    vocab, merges = byte_level(texts)
    return Qwen2Tokenizer(
        vocab=dict(vocab),
        merges=list(merges),
        extra_special_tokens=list(QWEN_MARKS[1:]),
        chat_template=_QWEN_CHAT,
        model_max_length=4096,
    )


def qwen3_vl_processor(texts: str = "") -> Qwen3VLProcessor:
    """The processor of Qwen3-VL; text-to-image pipelines hand it text alone."""
    size = {"shortest_edge": 256, "longest_edge": 4096}
    images = Qwen2VLImageProcessor(size=size, patch_size=8, merge_size=2)
    videos = Qwen3VLVideoProcessor(size=size, patch_size=8, merge_size=2)
    return Qwen3VLProcessor(images, qwen_tokenizer(texts), videos, chat_template=_QWEN_CHAT)


def gemma_tokenizer(texts: str = "") -> GemmaTokenizer:
    """Gemma's BPE over characters with a fallback to bytes."""
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    pieces = [*marks, *(f"<0x{byte:02X}>" for byte in range(256)), *printable(), "▁"]
    merges = merges_of(spaced for word in words_of(texts) for spaced in ("▁" + word, word))
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys([*pieces, *map("".join, merges)]))}
    return GemmaTokenizer(vocab=vocab, merges=list(merges), add_bos_token=True, model_max_length=4096)


def glm_tokenizer() -> PreTrainedTokenizerFast:
    """GLM's byte-level BPE: two marks before the text, padded on the left."""
    return _fast_tokenizer(
        GLM_MARKS,
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        padding_side="left",
        before=("[gMASK]", "<sop>"),
    )


def glm_image_processor() -> GlmImageProcessor:
    """The processor of GLM-Image: it writes the size of the wanted picture behind the prompt."""
    tokenizer = _fast_tokenizer(
        GLM_MARKS,
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        bos_token="<sop>",
        padding_side="left",
        extra_special_tokens={
            "image_token": "<|image|>",
            "grid_bos_token": "<|grid_bos|>",
            "grid_eos_token": "<|grid_eos|>",
        },
    )
    return GlmImageProcessor(GlmImageImageProcessor(patch_size=8), tokenizer, chat_template=_GLM_CHAT)


def pixtral_processor(texts: str = "") -> PixtralProcessor:
    """The processor of Mistral 3, padded on the left."""
    tokenizer = _fast_tokenizer(
        MISTRAL_MARKS,
        texts,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
    )
    return PixtralProcessor(PixtralImageProcessor(patch_size=8), tokenizer, patch_size=8, chat_template=_MISTRAL_CHAT)


def byt5_tokenizer() -> ByT5Tokenizer:
    """ByT5's bytes, which need no vocabulary."""
    return ByT5Tokenizer(extra_ids=0)


def _fast_tokenizer(
    marks: tuple[str, ...], texts: str = "", before: tuple[str, ...] = (), **named: Any
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of no model's own class, with these marks as special tokens and some before every text."""
    vocab, merges = byte_level(texts)
    backend = Tokenizer(BPE(vocab=dict(vocab), merges=list(merges)))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORD_BOUNDARIES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(marks))
    if before:
        backend.post_processor = _prefix(backend, before)
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=4096, **named)


def _prefix(backend: Tokenizer, marks: tuple[str, ...]) -> TemplateProcessing:
    """A post-processor that sets the marks before every text."""
    special = [(mark, backend.token_to_id(mark)) for mark in marks]
    return TemplateProcessing(single=[*marks, "$A"], special_tokens=special)
