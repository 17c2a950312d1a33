"""From texts to rows of tokens, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from ...errors import LineaError, short
from ...steering.language import LanguageModel


def tokens_of(base: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text, as its tokenizer makes them for the model.

    Raises:
        LineaError: no tokenizer, what is no text, or a text without a token.
    """
    if base.tokenizer is None:
        raise LineaError("got a language model without its tokenizer: expected LanguageModel(model, tokenizer)")
    if strange := [one for one in texts if not isinstance(one, str)]:
        raise LineaError(f"got {short(strange[0])} as a prompt: expected a text")
    rows = [list(ids) for ids in base.tokenizer(list(texts), verbose=False)["input_ids"]]
    if not all(rows):
        raise LineaError(f"got {short(texts[rows.index([])])}, which has no tokens: expected a text with words")
    return rows


def padded(
    rows: Sequence[Sequence[int]], base: LanguageModel, side: Literal["left", "right"]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of texts, the short ones filled up on a side, and which of them are text: (n, tokens) each, int64."""
    fill = getattr(base.tokenizer, "pad_token_id", None) or 0
    longest = max(map(len, rows))
    ids, mask = (torch.zeros(len(rows), longest, dtype=torch.long) for _ in range(2))
    ids += fill
    for number, row in enumerate(rows):
        place = slice(longest - len(row), None) if side == "left" else slice(len(row))
        ids[number, place], mask[number, place] = torch.tensor(row), 1
    return ids.to(base.device), mask.to(base.device)


def texts_of(base: LanguageModel, ids: torch.Tensor) -> list[str]:
    """Rows of tokens as texts, without tokens of other meaning."""
    return [str(text) for text in base.tokenizer.batch_decode(ids, skip_special_tokens=True)]
