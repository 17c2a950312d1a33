"""What the denoisers' recipes share: latents and text states of the renders, and the flow-matching loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .data import Renders
from .loop import Loss, Recipe
from .vae import to_tensor

_EMPTY_SHARE = 0.1
_UNIFORM_SHARE = 0.1
Predict = Callable[[torch.Tensor, torch.Tensor, list[torch.Tensor]], torch.Tensor]
TextStates = tuple[torch.Tensor, ...]


def flow_loss(
    latents: np.ndarray,
    captions: list[str],
    states: TextStates,
    row_of: dict[str, int],
    recipe: Recipe,
    predict: Predict,
    *,
    device: str,
) -> Loss:
    """Flow matching: the squared error of noise - clean, at logit-normal and some uniform times.

    Args:
        latents: (n, 4, 16, 16) float16.
        captions: n captions; a tenth of each batch is shown the empty one instead.
        states: what the text encoder makes of the distinct captions, (m, ...) each.
        row_of: caption -> row of `states`.
        recipe: batch size and seed.
        predict: ``(noisy latents, times in [0, 1000], states of the batch) -> flow``.
        device: where the model is.
    """

    def loss(rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
        rows = rng.integers(len(latents), size=recipe.batch)
        texts = np.where(rng.random(recipe.batch) < _EMPTY_SHARE, row_of[""], [row_of[captions[r]] for r in rows])
        clean = torch.from_numpy(latents[rows]).to(device, torch.float32)
        noise = torch.randn(clean.shape, generator=torch_rng, device=device)
        times = torch.sigmoid(0.2 + 1.1 * torch.randn(recipe.batch, generator=torch_rng, device=device))
        uniform = torch.rand(recipe.batch, generator=torch_rng, device=device)
        times = torch.where(torch.from_numpy(rng.random(recipe.batch) < _UNIFORM_SHARE).to(device), uniform, times)
        sigma = times.view(-1, 1, 1, 1)
        text = [part[torch.from_numpy(texts)].to(device, torch.float32) for part in states]
        flow = predict((1 - sigma) * clean + sigma * noise, 1000 * times, text)
        return (flow - (noise - clean)).square().mean()

    return loss


@torch.no_grad()
def encode_pictures(work: Path, out: Path, renders: Renders, device: str) -> np.ndarray:
    """Scaled latents of all pictures, (n, 4, 16, 16) float16, computed once."""
    file = work / "latents.npy"
    if not file.exists():
        vae = AutoencoderKL.from_pretrained(out / "vae").to(device, memory_format=torch.channels_last)
        parts = []
        for start in tqdm(range(0, len(renders.pictures), 250), desc="latents"):
            pictures = to_tensor(renders.pictures[start : start + 250], device)
            latents = vae.encode(pictures).latent_dist.mode() * vae.config.scaling_factor
            parts.append(latents.half().cpu().numpy())
        np.save(file, np.concatenate(parts))
    return np.load(file)


@torch.no_grad()
def encode_captions(
    captions: list[str],
    tokenizer: PreTrainedTokenizerBase,
    encoder: PreTrainedModel,
    read: Callable[[torch.Tensor], TextStates],
) -> tuple[TextStates, dict[str, int]]:
    """States of every distinct caption and the empty one, float16, and the caption's row in them.

    Args:
        captions: with repetitions.
        tokenizer: pads to its own length.
        encoder: only its device is read.
        read: token ids (n, length) -> states (n, ...).
    """
    distinct = ["", *sorted(set(captions))]
    parts = []
    for start in range(0, len(distinct), 500):
        tokens = tokenizer(distinct[start : start + 500], padding="max_length", truncation=True, return_tensors="pt")
        parts.append([state.half().cpu() for state in read(tokens.input_ids.to(encoder.device))])
    states = tuple(torch.cat(part) for part in zip(*parts, strict=True))
    return states, {caption: row for row, caption in enumerate(distinct)}


def edit_config(file: Path, **changes: str | float | None) -> None:
    """Set entries of a JSON file; None removes one."""
    config = {**json.loads(file.read_text()), **changes}
    kept = {key: value for key, value in config.items() if key not in changes or value is not None}
    file.write_text(json.dumps(kept, indent=2) + "\n")
