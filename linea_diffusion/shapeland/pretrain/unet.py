"""The U-Net of Shapeland: flow matching on the autoencoder's latents, text from the CLIP's frozen tower."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from .data import load_renders
from .flow import edit_config, encode_captions, encode_pictures, flow_loss
from .loop import Recipe, train

RECIPE = Recipe(steps=3000, batch=64, lr=1e-3, ema=0.999, renders=48_000)


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
    latents = encode_pictures(work, out, renders, device)
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(out / "text_encoder").to(device)
    states, row_of = encode_captions(
        renders.captions, tokenizer, encoder, lambda tokens: (encoder(tokens).last_hidden_state,)
    )
    unet = build().to(device, memory_format=torch.channels_last)

    def predict(noisy: torch.Tensor, times: torch.Tensor, text: list[torch.Tensor]) -> torch.Tensor:
        return unet(noisy, times, text[0]).sample

    loss = flow_loss(latents, renders.captions, states, row_of, recipe, predict, device=device)
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
    edit_config(out / "text_encoder" / "config.json", dtype="float32")
    edit_config(out / "vae" / "config.json", _name_or_path=None)
