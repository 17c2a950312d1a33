"""What text encoders read of prompts: they cut what is longer than their limit, and fill up what is shorter."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from ..concepts.concept import Concept
from ..concepts.prompt_values import SIDES
from ..concepts.words import tell_spelled
from ..errors import LineaError, short
from ..pipelines.calling import denoisers_of
from ..steering.addresses import is_text_encoder

_Call = Callable[[Sequence[str]], None]


def check_prompts_read(pipe: Any, concept: Concept, call: _Call, *, size: int | None = None) -> None:
    """Warn of prompts that a text encoder cuts, once for each side of the concept and each of its levels.

    Args:
        pipe: a diffusers pipeline. Without a text encoder that reads tokens nothing is checked.
        concept: whose prompts are looked at.
        call: calls the pipeline with prompts; the call ends when the denoiser's turn comes.
        size: prompts at once; all when left out.

    Raises:
        LineaError: every text encoder reads the same of the sources as of the targets.
    """
    sides = {side: getattr(concept, side) for side in SIDES}
    sides |= {f"level {level.strength}": level.target for level in concept.levels}
    tell_spelled(pipe, [prompt for prompts in sides.values() for prompt in prompts], stacklevel=4)
    reads = {side: _reads(pipe, prompts, call, size) for side, prompts in sides.items()}
    cut = [
        _warn_of_cuts(pipe, f"{side} prompts for concept {concept.name!r}", sides[side], reads[side]) for side in sides
    ]
    source, target = ({encoder: tokens.rows for encoder, tokens in reads[side].items()} for side in SIDES)
    # an encoder that reads one and the same row of all prompts may be given something else than prompts
    if source == target and (any(cut) or any(len(rows) > 1 for rows in source.values())):
        raise LineaError(
            f"got concept {concept.name!r}, whose source and target prompts are the same as far as the model reads "
            "them: expected two sets that differ within the text encoder's limit; put the words that differ first"
        )


@dataclass
class _Tokens:
    """What a text encoder is given: its rows of tokens without padding, and all but the last token of each as it is."""

    rows: set[tuple[int, ...]] = field(default_factory=set)
    heads: set[tuple[int, ...]] = field(default_factory=set)

    def add(self, ids: torch.Tensor) -> None:
        rows = ids.flatten(0, -2).tolist()
        self.rows |= {_unpadded(row) for row in rows}
        self.heads |= {tuple(row[:-1]) for row in rows}

    def cuts(self, ids: list[int]) -> bool:
        """Whether a prompt's tokens begin as a row does that ends before them; an end token may be put last."""
        return any(len(ids) > length + 1 and tuple(ids[:length]) in self.heads for length in map(len, self.heads))


def _unpadded(row: list[int]) -> tuple[int, ...]:
    """A row whose first and last tokens are not repeated: padding is of any length, and its token of any name."""
    runs = [list(run) for _, run in groupby(row)]
    return tuple(
        token for number, run in enumerate(runs) for token in (run[:1] if number in (0, len(runs) - 1) else run)
    )


class _Enough(Exception):
    """No error: it ends a call whose rest is of no interest."""


def _reads(pipe: Any, prompts: Sequence[str], call: _Call, size: int | None) -> dict[str, _Tokens]:
    size = size or len(prompts)
    with _listening(pipe) as reads, torch.no_grad():
        for start in range(0, len(prompts), size):
            with suppress(_Enough):
                call(prompts[start : start + size])
    return reads


@contextmanager
def _listening(pipe: Any) -> Iterator[dict[str, _Tokens]]:
    """Within the context a call tells what text encoders read, and ends where a denoiser would begin."""
    reads: dict[str, _Tokens] = {}

    def listen(name: str) -> Callable[..., None]:
        def hook(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            for value in (*args[:1], kwargs.get("input_ids")):
                if isinstance(value, torch.Tensor) and value.ndim >= 2 and not value.is_floating_point():
                    reads.setdefault(name, _Tokens()).add(value)

        return hook

    def end(model: nn.Module, args: Any) -> None:
        raise _Enough

    with ExitStack() as stack:
        for name, model in _text_encoders(pipe).items():
            stack.enter_context(model.register_forward_pre_hook(listen(name), with_kwargs=True))
        for model in denoisers_of(pipe):
            stack.enter_context(model.register_forward_pre_hook(end))
        yield reads


def _text_encoders(pipe: Any) -> dict[str, nn.Module]:
    return {
        name: model for name, model in pipe.components.items() if is_text_encoder(name) and isinstance(model, nn.Module)
    }


def _tokenizer_of(pipe: Any, encoder: str) -> Any:
    return pipe.components.get(encoder.replace("text_encoder", "tokenizer"))


def _warn_of_cuts(pipe: Any, name: str, prompts: Sequence[str], read: Mapping[str, _Tokens]) -> bool:
    """Whether any prompt of a side is cut."""
    cut, readers = set(), []
    for encoder, tokens in read.items():
        tokenizer = _tokenizer_of(pipe, encoder)
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            continue
        # some pipelines write all prompts small
        spellings = {prompt: {prompt, prompt.lower().strip()} for prompt in prompts}
        longer = {
            prompt
            for prompt, spelt in spellings.items()
            if any(tokens.cuts(tokenizer(one, verbose=False)["input_ids"]) for one in spelt)
        }
        if longer:
            cut |= longer
            readers.append(f"{encoder} reads the first {max(map(len, tokens.heads)) + 1} tokens only")
    if cut:
        some = ", ".join([short(prompt) for prompt in prompts if prompt in cut][:3]) + (", ..." if len(cut) > 3 else "")
        warnings.warn(
            f"got {len(cut)} {name} of which {', '.join(readers)} ({some}): "
            "expected shorter ones; words behind that teach it nothing",
            stacklevel=3,
        )
    return bool(cut)


@contextmanager
def follow_masks(pipe: Any) -> Iterator[dict[str, torch.Tensor]]:
    """Within the context the yielded dict holds the attention mask of each text encoder's present call.

    The mask is the one that the pipeline passes; if it passes none (Stable Diffusion, FLUX), it is worked out from
    the tokens: up to the first end of text, with what the tokenizer pads with left out.
    """
    masks: dict[str, torch.Tensor] = {}

    def hook_of(component: str, tokenizer: Any) -> Any:
        def hook(model: nn.Module, args: Any, kwargs: Any) -> None:
            masks.pop(component, None)
            forward = getattr(model, "_orig_mod", model).forward  # torch.compile hides the names of arguments
            inputs = {**inspect.signature(forward).bind_partial(*args, **kwargs).arguments, **kwargs}
            mask, tokens = inputs.get("attention_mask"), inputs.get("input_ids")
            if isinstance(mask, torch.Tensor) and mask.ndim == 2:
                masks[component] = mask.bool()
            elif isinstance(tokens, torch.Tensor) and tokenizer is not None:
                masks[component] = text_mask(tokens, tokenizer.eos_token_id, tokenizer.pad_token_id)

        return hook

    with ExitStack() as stack:
        for component, model in _text_encoders(pipe).items():
            hook = hook_of(component, _tokenizer_of(pipe, component))
            stack.enter_context(model.register_forward_pre_hook(hook, with_kwargs=True))
        yield masks


def text_mask(tokens: torch.Tensor, end: int | None, padding: int | None) -> torch.Tensor:
    """Which tokens are text: those up to and with the first `end`, none that is `padding` (unless that is `end`).

    Args:
        tokens: ids, (n, tokens).
        end: id of the end of text, or None.
        padding: id of the padding, or None.

    Returns:
        (n, tokens), bool.
    """
    mask = torch.ones_like(tokens, dtype=torch.bool)
    if end is not None:
        ended = (tokens == end).cumsum(dim=1)
        mask &= (ended - (tokens == end).long()) == 0
    if padding is not None and padding != end:
        mask &= tokens != padding
    return mask
