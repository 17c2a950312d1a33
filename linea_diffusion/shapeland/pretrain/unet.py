"""The U-Net of Shapeland: flow matching on the autoencoder's latents, text from the CLIP's frozen tower."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tqdm.auto import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from .data import Renders, load_renders
from .loop import Recipe, train
from .vae import to_tensor

RECIPE = Recipe(steps=3000, batch=64, lr=1e-3, ema=0.999, renders=48_000)
_EMPTY_SHARE = 0.1
_UNIFORM_SHARE = 0.1


def build() -> UNet2DConditionModel:
    """A fresh U-Net: 16 x 16 convolutions, cross-attention at 8 x 8 and 4 x 4 and between."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(64, 112, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_scheduler() -> DPMSolverMultistepScheduler:
    """Second-order solver of the flow; 8 steps make a clean picture."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0, solver_order=2
    )


def pretrain(work: Path, out: Path, recipe: Recipe, *, device: str) -> None:
    """Train the U-Net on top of ``out``'s autoencoder and text tower; complete ``out`` as a pipeline folder."""
    torch.manual_seed(recipe.seed)
    renders = load_renders(work, recipe.renders)
    latents = _latents(work, out, renders, device)
    states, row_of = _text_states(out, renders.captions, device)
    unet = build().to(device, memory_format=torch.channels_last)

    def loss(rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
        rows = rng.integers(len(latents), size=recipe.batch)
        texts = np.where(
            rng.random(recipe.batch) < _EMPTY_SHARE, row_of[""], [row_of[renders.captions[r]] for r in rows]
        )
        clean = torch.from_numpy(latents[rows]).to(device, torch.float32)
        noise = torch.randn(clean.shape, generator=torch_rng, device=device)
        times = torch.sigmoid(0.2 + 1.1 * torch.randn(recipe.batch, generator=torch_rng, device=device))
        uniform = torch.rand(recipe.batch, generator=torch_rng, device=device)
        times = torch.where(torch.from_numpy(rng.random(recipe.batch) < _UNIFORM_SHARE).to(device), uniform, times)
        sigma = times.view(-1, 1, 1, 1)
        text = states[torch.from_numpy(texts)].to(device, torch.float32)
        flow = unet((1 - sigma) * clean + sigma * noise, 1000 * times, text).sample
        return (flow - (noise - clean)).square().mean()

    average = train(unet, loss, recipe, work / "unet.pt", device=device, name="unet")
    save_pipeline(average, out)


def save_pipeline(unet: UNet2DConditionModel, out: Path) -> None:
    """Save U-Net, scheduler and model index beside the parts that are there: plain diffusers loads the folder."""
    StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(out / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(out / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(out / "tokenizer"),
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(dtype=torch.float16).save_pretrained(out)
    # transformers would load the text encoder in the stored half precision, diffusers its own parts in float32.
    _edit_config(out / "text_encoder" / "config.json", dtype="float32")
    _edit_config(out / "vae" / "config.json", _name_or_path=None)


def _edit_config(file: Path, **changes: str | None) -> None:
    """Set entries of a JSON file; None removes one."""
    config = {**json.loads(file.read_text()), **changes}
    kept = {key: value for key, value in config.items() if key not in changes or value is not None}
    file.write_text(json.dumps(kept, indent=2) + "\n")


@torch.no_grad()
def _latents(work: Path, out: Path, renders: Renders, device: str) -> np.ndarray:
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
def _text_states(out: Path, captions: list[str], device: str) -> tuple[torch.Tensor, dict[str, int]]:
    """Last hidden states of every distinct caption and the empty one, (m, 24, 128) float16, and their rows."""
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(out / "text_encoder").to(device)
    distinct = ["", *sorted(set(captions))]
    parts = []
    for start in range(0, len(distinct), 500):
        tokens = tokenizer(distinct[start : start + 500], padding="max_length", truncation=True, return_tensors="pt")
        parts.append(encoder(tokens.input_ids.to(device)).last_hidden_state.half().cpu())
    return torch.cat(parts), {caption: row for row, caption in enumerate(distinct)}
