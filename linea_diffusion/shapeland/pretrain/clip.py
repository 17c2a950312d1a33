"""The CLIP of Shapeland: trained with open_clip, scored with open_clip; its text tower feeds the U-Net."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPTextConfig, CLIPTextModel

from .data import load_renders
from .loop import Recipe, train
from .tokenizer import CONTEXT_LENGTH
from .tokenizer import build as build_tokenizer
from .vae import to_tensor

RECIPE = Recipe(steps=2200, batch=128, lr=1e-3, renders=48_000)
_WIDTH, _LAYERS, _HEADS = 128, 3, 4


def model_config() -> dict[str, object]:
    """The ``model_cfg`` of open_clip: a small residual network and a text tower of three layers."""
    return {
        "embed_dim": 128,
        "quick_gelu": False,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": len(build_tokenizer()),
            "width": _WIDTH,
            "heads": _HEADS,
            "layers": _LAYERS,
            "hf_tokenizer_name": "CLIPTokenizer files in this folder",
        },
    }


def build() -> open_clip.CLIP:
    """A fresh open_clip model."""
    return open_clip.CLIP(**model_config())


def pretrain(work: Path, out: Path, recipe: Recipe, *, device: str) -> None:
    """Train the CLIP; save it to ``out/clip`` for open_clip and its text tower to ``out/text_encoder``."""
    torch.manual_seed(recipe.seed)
    renders = load_renders(work, recipe.renders)
    tokenizer = build_tokenizer()
    tokens = torch.tensor(tokenizer(renders.captions, padding="max_length", truncation=True).input_ids)
    model = build().to(device)

    def loss(rng: np.random.Generator, torch_rng: torch.Generator) -> torch.Tensor:
        del torch_rng
        rows = rng.integers(len(renders.pictures), size=recipe.batch)
        images = to_tensor(np.stack([renders.pictures[row] for row in rows]), device)
        features = normalize(model.encode_image(images), dim=-1)
        texts = normalize(model.encode_text(tokens[rows].to(device)), dim=-1)
        logits = model.logit_scale.exp().clamp(max=100) * features @ texts.T
        diagonal = torch.arange(recipe.batch, device=device)
        return (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2

    average = train(model, loss, recipe, work / "clip.pt", device=device, name="clip")
    _save_open_clip(average, out / "clip")
    text_encoder_from(average.state_dict()).half().save_pretrained(out / "text_encoder")
    tokenizer.save_pretrained(out / "tokenizer")


def _save_open_clip(model: torch.nn.Module, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    config = {"model_cfg": model_config(), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    build_tokenizer().save_pretrained(folder)


def text_encoder_from(weights: dict[str, torch.Tensor]) -> CLIPTextModel:
    """open_clip's text tower as transformers' `CLIPTextModel`: the same function, other names."""
    vocab = weights["token_embedding.weight"].shape[0]
    config = CLIPTextConfig(
        vocab_size=vocab,
        hidden_size=_WIDTH,
        intermediate_size=4 * _WIDTH,
        projection_dim=128,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        max_position_embeddings=CONTEXT_LENGTH,
        hidden_act="gelu",
        bos_token_id=vocab - 2,
        eos_token_id=vocab - 1,
        pad_token_id=vocab - 1,
    )
    encoder = CLIPTextModel(config)
    prefix = "text_model." if any(key.startswith("text_model.") for key in encoder.state_dict()) else ""
    renamed = {
        "embeddings.token_embedding.weight": weights["token_embedding.weight"],
        "embeddings.position_embedding.weight": weights["positional_embedding"],
        "final_layer_norm.weight": weights["ln_final.weight"],
        "final_layer_norm.bias": weights["ln_final.bias"],
    }
    names = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    names["attn.out_proj"] = "self_attn.out_proj"
    for layer in range(_LAYERS):
        there, here = f"transformer.resblocks.{layer}.", f"encoder.layers.{layer}."
        for end in ("weight", "bias"):
            for old, new in names.items():
                renamed[f"{here}{new}.{end}"] = weights[f"{there}{old}.{end}"]
            for name, value in zip("qkv", weights[f"{there}attn.in_proj_{end}"].chunk(3), strict=True):
                renamed[f"{here}self_attn.{name}_proj.{end}"] = value
    encoder.load_state_dict({prefix + key: value for key, value in renamed.items()})
    return encoder
