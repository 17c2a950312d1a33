"""From an activation with tokens or pixels to the samples that the loss compares."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from ...steering.activations import Pool, feature_axis

if TYPE_CHECKING:
    from ..config import TrainingConfig

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
        stepped: activations whose places are counted from the last token: those seen once a step.
        lengths: activation name -> the number of tokens when it was first seen, which is filled in.
    """

    def __init__(self, count: int, seed: int, stepped: Set[str], lengths: dict[str, int]) -> None:
        self.count, self.seed, self.stepped, self.lengths = count, seed, stepped, lengths

    def __call__(self, name: str, module: nn.Module, activation: torch.Tensor) -> torch.Tensor:
        """(n, tokens, d) or (n, d, h, w) -> (n, count, d)."""
        rows = _rows(module, activation)
        first = self.lengths.setdefault(name, rows.shape[1])
        drawn = torch.randperm(first, generator=torch.Generator().manual_seed(self.seed))[: self.count].sort().values
        later = rows.shape[1] - first if name in self.stepped else 0
        return rows[:, (drawn + later).clamp(0, rows.shape[1] - 1).to(rows.device)].float()


class MaskedMean:
    """`mean_pool` that leaves the padding of prompts out, where a run knows it.

    Args:
        mask_of: activation name -> which tokens count in its present call, (n, tokens), or None, see `Run.text_mask`.
    """

    def __init__(self, mask_of: Callable[[str], torch.Tensor | None]) -> None:
        self.mask_of = mask_of

    def __call__(self, name: str, module: nn.Module, activation: torch.Tensor) -> torch.Tensor:
        """(n, tokens, d) -> (n, d): the mean of the tokens that count; also of tokens of all rows in one line."""
        mask = self.mask_of(name)
        if mask is not None and activation.ndim == 2 and len(activation) == mask.numel():
            activation = activation.unflatten(0, mask.shape)
        rows = _rows(module, activation).float()
        if mask is None or mask.shape != rows.shape[:2]:
            return mean_pool(name, module, activation)
        weights = mask.to(rows)[..., None]
        return (rows * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)


def pooling_of(
    config: TrainingConfig, mask_of: Callable[[str], torch.Tensor | None], stepped: Set[str], lengths: dict[str, int]
) -> Pool:
    """The function that pools recorded activations as settings want it; the other arguments are those of its class."""
    if config.pooled == "tokens":
        return TokenSample(config.tokens_per_sample, config.seed, stepped, lengths)
    return MaskedMean(mask_of)
