"""The DiT of Shapeland: joint attention of picture and text, as in Stable Diffusion 3, on the U-Net's latents.

The class has two CLIP encoders and a T5. Both CLIP encoders are the frozen tower of shapeland-clip, with its
projection; the T5 is left out, for which the pipeline puts zeros. Nearly all training has one token of zeros, a few
batches the 256 of the pipeline's default, so that both make pictures.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from .data import load_renders
from .flow import edit_config, encode_captions, encode_pictures, flow_loss
from .loop import Recipe, train

RECIPE = Recipe(steps=3800, batch=64, lr=1.5e-3, ema=0.999, renders=48_000)
_MANY_ZEROS = 256
_MANY_SHARE = 0.03


def build() -> SD3Transformer2DModel:
    """A fresh transformer: 64 picture tokens of width 160 and the text's tokens, in 6 joint layers.

    The modulations and the output layer begin at zero (arXiv 2212.09748, adaLN-Zero), so that every layer begins as
    the identity.
    """
    model = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=6,
        attention_head_dim=32,
        num_attention_heads=5,
        joint_attention_dim=256,
        caption_projection_dim=160,
        pooled_projection_dim=256,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(("norm1.linear", "norm1_context.linear", "proj_out")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return model


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Euler's method along the flow."""
    return FlowMatchEulerDiscreteScheduler(shift=1.0)


def build_text_encoder(out: Path) -> CLIPTextModelWithProjection:
    """``out``'s text encoder with the CLIP's projection on top: the same tower, and what the CLIP compares."""
    tower = CLIPTextModel.from_pretrained(out / "text_encoder")
    config = CLIPTextConfig(**{**tower.config.to_dict(), "model_type": "clip_text_model"})
    encoder = CLIPTextModelWithProjection(config)
    weights = tower.state_dict()
    own = encoder.state_dict()
    prefix = "" if "embeddings.token_embedding.weight" in own else "text_model."
    bare = {key.removeprefix("text_model."): value for key, value in weights.items()}
    projection = load_file(out / "clip" / "open_clip_model.safetensors")["text_projection"]
    encoder.load_state_dict(
        {**{prefix + key: value for key, value in bare.items()}, "text_projection.weight": projection.T.contiguous()}
    )
    return encoder.eval()


def pretrain(work: Path, out: Path, recipe: Recipe, *, device: str) -> None:
    """Train the DiT on ``out``'s autoencoder and text tower; write the pipeline to ``out/dit``."""
    torch.manual_seed(recipe.seed)
    renders = load_renders(work, recipe.renders)
    latents = encode_pictures(work, out, renders, device)
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    encoder = build_text_encoder(out).to(device)

    def read(tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = encoder(tokens, output_hidden_states=True)
        return output.hidden_states[-2], output.text_embeds

    states, row_of = encode_captions(renders.captions, tokenizer, encoder, read)
    model = build().to(device)

    def predict(noisy: torch.Tensor, times: torch.Tensor, text: list[torch.Tensor]) -> torch.Tensor:
        tokens, pooled = (torch.cat([part, part], dim=-1) for part in text)
        many = float(times[0]) % 1 < _MANY_SHARE  # the fraction of a random time is as good as another random number
        zeros = tokens.new_zeros(len(tokens), _MANY_ZEROS if many else 1, tokens.shape[-1])
        return model(noisy, torch.cat([tokens, zeros], dim=1), pooled, times).sample

    loss = flow_loss(latents, renders.captions, states, row_of, recipe, predict, device=device)
    average = train(model, loss, recipe, work / "dit.pt", device=device, name="dit")
    save_pipeline(average, out)


def save_pipeline(transformer: SD3Transformer2DModel, out: Path) -> None:
    """Write a folder ``out/dit`` that plain diffusers loads."""
    folder = out / "dit"
    vae = AutoencoderKL.from_pretrained(out / "vae")
    vae.register_to_config(shift_factor=0.0)
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=build_scheduler(),
        vae=vae,
        text_encoder=build_text_encoder(out),
        tokenizer=tokenizer,
        text_encoder_2=build_text_encoder(out),
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    ).to(dtype=torch.float16).save_pretrained(folder)
    for part in ("text_encoder", "text_encoder_2"):
        edit_config(folder / part / "config.json", dtype="float32")
    edit_config(folder / "vae" / "config.json", _name_or_path=None)
