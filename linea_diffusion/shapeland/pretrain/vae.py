"""The autoencoder of Shapeland: 64 x 64 pixels to 4 x 16 x 16 latents, trained on 32 x 32 crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from .data import load_renders
from .loop import Recipe, train

RECIPE = Recipe(steps=5000, batch=32, lr=2e-3, renders=48_000)
_KL_WEIGHT = 1e-3


def build() -> AutoencoderKL:
    """A fresh autoencoder: three widths, four latent channels, no attention."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def _reconstruction(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Absolute error of the pixels and, at half weight, of their differences (edges stay sharp)."""
    error = output - target
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + 0.5 * edges


def pretrain(work: Path, out: Path, recipe: Recipe, *, device: str) -> None:
    """Train the autoencoder and save it to ``out/vae`` with the measured scaling factor."""
    torch.manual_seed(recipe.seed)
    pictures = load_renders(work, recipe.renders).pictures
    vae = build().to(device, memory_format=torch.channels_last)

    def loss(rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
        rows = rng.integers(len(pictures), size=recipe.batch)
        corners = rng.integers(0, 33, size=(recipe.batch, 2))
        crops = [pictures[r, y : y + 32, x : x + 32] for r, (y, x) in zip(rows, corners, strict=True)]
        batch = to_tensor(np.stack(crops), device)
        posterior = vae.encode(batch).latent_dist
        output = vae.decode(posterior.sample(torch_rng)).sample
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        return _reconstruction(output, batch) + _KL_WEIGHT * kl

    average = train(vae, loss, recipe, work / "vae.pt", device=device, name="vae")
    with torch.no_grad():
        latents = average.encode(to_tensor(pictures[:512], device)).latent_dist.mode()
    average.register_to_config(scaling_factor=round(1 / latents.std().item(), 4))
    average.half().save_pretrained(out / "vae")


def to_tensor(pictures: np.ndarray, device: str) -> torch.Tensor:
    """(n, h, w, 3) uint8 to (n, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(pictures.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2).to(device)
