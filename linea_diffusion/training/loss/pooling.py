"""From an activation with tokens or pixels to the samples that the loss compares."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import nn

from ...steering.activations import feature_axis
from ...steering.addresses import Address, is_text_encoder

Pooling = Literal["mean", "masked-mean", "tokens"]
POOLINGS = ("mean", "masked-mean", "tokens")


def mean_pool(name: str, module: nn.Module, activation: torch.Tensor) -> torch.Tensor:
    """Average over tokens or pixels: (n, tokens, d) or (n, d, h, w) -> (n, d), in float32."""
    axis = feature_axis(module, activation)
    others = [dim for dim in range(1, activation.ndim) if dim != axis]
    return activation.float().mean(dim=others) if others else activation.float()


def _rows(module: nn.Module, activation: torch.Tensor) -> torch.Tensor:
    """(n, tokens, d) of any activation; one token if it has none."""
    moved = activation.movedim(feature_axis(module, activation), -1)
    return moved.flatten(1, -2) if moved.ndim > 2 else moved[:, None]


class TokenSample:
    """Some tokens or pixels as samples of their own: (n, tokens, d) -> (n, count, d), in float32.

    The places are drawn once for each number of tokens, without replacement, and are the same in every pass; with
    fewer tokens than `count` all of them are taken. Where prompts of other lengths change the number of tokens, text
    encoders keep the places counted from the first token, and denoisers, which put pictures behind texts, from the
    last: the same places of a picture are compared.

    Args:
        count: tokens of each activation.
        seed: of the places.
        lengths: activation name -> the number of tokens when it was first seen, which is filled in.
    """

    def __init__(self, count: int, seed: int, lengths: dict[str, int]) -> None:
        self.count, self.seed, self.lengths = count, seed, lengths

    def __call__(self, name: str, module: nn.Module, activation: torch.Tensor) -> torch.Tensor:
        """(n, tokens, d) or (n, d, h, w) -> (n, count, d)."""
        rows = _rows(module, activation)
        first = self.lengths.setdefault(name, rows.shape[1])
        drawn = torch.randperm(first, generator=torch.Generator().manual_seed(self.seed))[: self.count].sort().values
        later = 0 if Address.of(name).in_text_encoder else rows.shape[1] - first
        return rows[:, (drawn + later).clamp(0, rows.shape[1] - 1).to(rows.device)].float()


class MaskedMean:
    """`mean_pool` that leaves the padding of prompts out, for text encoders.

    Args:
        masks: text encoder component -> attention mask (n, tokens) of its present call, from `follow_masks`.
    """

    def __init__(self, masks: dict[str, torch.Tensor]) -> None:
        self.masks = masks

    def __call__(self, name: str, module: nn.Module, activation: torch.Tensor) -> torch.Tensor:
        """(n, tokens, d) -> (n, d): the mean of the tokens that count."""
        mask = self.masks.get(Address.of(name).component)
        rows = _rows(module, activation).float()
        if mask is None or mask.shape != rows.shape[:2]:
            return mean_pool(name, module, activation)
        weights = mask.to(rows)[..., None]
        return (rows * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)


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
            given = {**inspect.signature(forward).bind_partial(*args, **kwargs).arguments, **kwargs}
            mask, tokens = given.get("attention_mask"), given.get("input_ids")
            if isinstance(mask, torch.Tensor) and mask.ndim == 2:
                masks[component] = mask.bool()
            elif isinstance(tokens, torch.Tensor) and tokenizer is not None:
                masks[component] = text_mask(tokens, tokenizer.eos_token_id, tokenizer.pad_token_id)

        return hook

    with ExitStack() as stack:
        for component, model in pipe.components.items():
            if is_text_encoder(component) and isinstance(model, nn.Module):
                tokenizer = pipe.components.get(component.replace("text_encoder", "tokenizer"))
                hook = hook_of(component, tokenizer)
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


@contextmanager
def pooling_of(pipe: Any, pooling: Pooling, *, count: int, seed: int, lengths: dict[str, int]) -> Iterator[Any]:
    """The function that pools recorded activations, for as long as the context lasts."""
    if pooling == "masked-mean":
        with follow_masks(pipe) as masks:
            yield MaskedMean(masks)
    elif pooling == "tokens":
        yield TokenSample(count, seed, lengths)
    else:
        yield mean_pool
