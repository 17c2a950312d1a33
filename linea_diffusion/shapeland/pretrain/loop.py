"""The one training loop of the recipes: seeded by step, resumable, with an averaged copy of the weights."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm


@dataclass(frozen=True)
class Recipe:
    """How long and how fast one model is trained.

    Attributes:
        steps: optimiser steps in all.
        batch: pictures per step.
        lr: learning rate after a warm-up of 2% and before the linear decay to zero of the last `decay` share.
        decay: share of the steps over which the learning rate goes to zero.
        ema: averaging factor of the weights that are kept.
        renders: how many pictures of the world to train on.
        seed: seeds weights, batches, times and noises.
    """

    steps: int
    batch: int
    lr: float
    decay: float = 0.3
    ema: float = 0.998
    renders: int = 48_000
    seed: int = 0
    checkpoint_every: int = 250

    def lr_at(self, step: int) -> float:
        """Learning rate at a step: warm-up, constant, linear decay."""
        warm = min(1.0, (step + 1) / max(1, 0.02 * self.steps))
        return self.lr * warm * min(1.0, (self.steps - step) / max(1, self.decay * self.steps))


M = TypeVar("M", bound=nn.Module)
Loss = Callable[[np.random.Generator, torch.Generator], torch.Tensor]


def train(model: M, loss: Loss, recipe: Recipe, checkpoint: Path, *, device: str, name: str) -> M:
    """Train `model` in place by `recipe` and return its averaged copy.

    `loss` draws its batch from the two generators it is given; they are seeded by (seed, step), so that a
    training that was stopped goes on exactly as if it had not been. State is kept in `checkpoint`.
    """
    average = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, betas=(0.9, 0.99), weight_decay=0.01)
    start, seconds = _resume(checkpoint, model, average, optimizer)
    model.train()
    began = time.monotonic() - seconds
    with tqdm(total=recipe.steps, initial=start, desc=name, mininterval=5) as bar:
        for step in range(start, recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(step)
            torch_rng = torch.Generator(device).manual_seed(recipe.seed * 1_000_003 + step)
            value = loss(np.random.default_rng((recipe.seed, step)), torch_rng)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            _update(average, model, min(recipe.ema, (step + 1) / (step + 20)))
            bar.update()
            bar.set_postfix(loss=f"{value.item():.4f}", refresh=False)
            if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
                state = {"step": step + 1, "seconds": time.monotonic() - began}
                modules = {"model": model.state_dict(), "average": average.state_dict()}
                _save(checkpoint, {**state, **modules, "optimizer": optimizer.state_dict()})
    return average


@torch.no_grad()
def _update(average: nn.Module, model: nn.Module, factor: float) -> None:
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - factor)
        else:
            mean.copy_(value)


def _save(path: Path, state: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _resume(path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["seconds"]
