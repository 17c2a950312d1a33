"""What programs call the layers of a model: one family of models after the other.

Facts of the programs' own key maps: ComfyUI, Forge, A1111 and InvokeAI read these names; diffusers its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...steering.addresses import Address


@dataclass(frozen=True)
class Key:
    """Where a layer's change stands in a file.

    Attributes:
        name: the key without its ending.
        block: of several layers that are one there, such as q, k and v: which this is, and how many there are.
    """

    name: str
    block: tuple[int, int] = (0, 1)


_CLASSES = {
    "SD3Transformer2DModel": "sd3",
    "FluxTransformer2DModel": "flux",
    "Flux2Transformer2DModel": "flux2",
    "ZImageTransformer2DModel": "z-image",
    "QwenImageTransformer2DModel": "qwen",
}
FAMILIES = {
    "sd1": "Stable Diffusion 1 and 2",
    "sdxl": "Stable Diffusion XL",
    "sd3": "Stable Diffusion 3",
    "flux": "FLUX.1",
    "flux2": "FLUX.2",
    "z-image": "Z-Image",
    "qwen": "Qwen-Image",
}


def family_of(pipe: Any) -> str | None:
    """The family of a pipeline's denoiser, one of `FAMILIES`; None for others."""
    denoiser = pipe.components.get("unet") or pipe.components.get("transformer")
    kind = type(getattr(denoiser, "_orig_mod", denoiser)).__name__
    if kind == "UNet2DConditionModel":
        return "sdxl" if denoiser.config.addition_embed_type == "text_time" else "sd1"
    return _CLASSES.get(kind)


def key_of(family: str, layer: str, pipe: Any) -> Key | None:
    """What programs with a slider call a layer; None for one that they cannot change."""
    address = Address.of(layer)
    if address.in_text_encoder:
        return _text_key(family, address)
    if address.component == "unet" and family in ("sd1", "sdxl"):
        path = address.path if family == "sd1" else sgm_name(address.path, pipe.unet)
        return Key("lora_unet_" + path.replace(".", "_")) if path else None
    return _TRANSFORMERS[family](address.path) if address.component == "transformer" else None


def _text_key(family: str, address: Address) -> Key | None:
    """CLIP and T5, by the number of the text encoder."""
    number = int(address.component.rpartition("_")[2]) if address.component[-1].isdecimal() else 1
    if address.path.startswith("encoder.layers.") or address.path == "final_layer_norm":
        first = "lora_te_" if family == "sd1" else f"lora_te{number}_"
        return Key(f"{first}text_model_{address.path}".replace(".", "_"))
    if address.path.startswith("encoder.block."):
        return Key(f"lora_te{number}_{address.path}".replace(".", "_"))
    return None


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def sgm_name(path: str, unet: Any) -> str | None:
    """A layer of a diffusers U-Net as the original code of Stable Diffusion names it."""
    whole = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
    if path in whole:
        return whole[path]
    each = unet.config.layers_per_block
    if match := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", path):
        side, block, kind, number, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        at = block * (each + 1) + number + (side == "down")
        rest = _RESNET.get(rest, rest) if kind == "resnets" else rest
        return f"{'input' if side == 'down' else 'output'}_blocks.{at}.{int(kind == 'attentions')}.{rest}"
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", path):
        resnet = match[1] == "resnets"
        at = 2 * int(match[2]) if resnet else 2 * int(match[2]) + 1
        return f"middle_block.{at}.{_RESNET.get(match[3], match[3]) if resnet else match[3]}"
    return None


_Rule = tuple[str, str, tuple[int, int]]
_QKV = ("q", "k", "v")


def _rules(*rules: _Rule) -> Callable[[str], Key | None]:
    """Names by regular expressions of whole paths; what they capture stands for {0}."""

    def name(path: str) -> Key | None:
        for pattern, form, block in rules:
            if match := re.fullmatch(pattern, path):
                return Key(form.format(*match.groups()), block)
        return None

    return name


def _fused(pattern: str, form: str, of: int = 3) -> list[_Rule]:
    """Rules for q, k and v that are one layer elsewhere."""
    return [(pattern.replace("QKV", letter), form, (i, of)) for i, letter in enumerate(_QKV)]


_N = r"(\d+)"
_ONE = (0, 1)
_TRANSFORMERS: dict[str, Callable[[str], Key | None]] = {
    "sd3": _rules(
        (rf"transformer_blocks\.{_N}\.attn\.to_out\.0", "lora_unet_joint_blocks_{0}_x_block_attn_proj", _ONE),
        (rf"transformer_blocks\.{_N}\.attn\.to_add_out", "lora_unet_joint_blocks_{0}_context_block_attn_proj", _ONE),
        (rf"transformer_blocks\.{_N}\.attn2\.to_out\.0", "lora_unet_joint_blocks_{0}_x_block_attn2_proj", _ONE),
        *_fused(rf"transformer_blocks\.{_N}\.attn\.to_QKV", "lora_unet_joint_blocks_{0}_x_block_attn_qkv"),
        *_fused(rf"transformer_blocks\.{_N}\.attn\.add_QKV_proj", "lora_unet_joint_blocks_{0}_context_block_attn_qkv"),
        *_fused(rf"transformer_blocks\.{_N}\.attn2\.to_QKV", "lora_unet_joint_blocks_{0}_x_block_attn2_qkv"),
        (rf"transformer_blocks\.{_N}\.ff\.net\.0\.proj", "lora_unet_joint_blocks_{0}_x_block_mlp_fc1", _ONE),
        (rf"transformer_blocks\.{_N}\.ff\.net\.2", "lora_unet_joint_blocks_{0}_x_block_mlp_fc2", _ONE),
    ),
    "flux": _rules(
        (rf"transformer_blocks\.{_N}\.attn\.to_out\.0", "lora_unet_double_blocks_{0}_img_attn_proj", _ONE),
        (rf"transformer_blocks\.{_N}\.attn\.to_add_out", "lora_unet_double_blocks_{0}_txt_attn_proj", _ONE),
        (rf"single_transformer_blocks\.{_N}\.proj_out", "lora_unet_single_blocks_{0}_linear2", _ONE),
        *_fused(rf"transformer_blocks\.{_N}\.attn\.to_QKV", "lora_unet_double_blocks_{0}_img_attn_qkv"),
        *_fused(rf"transformer_blocks\.{_N}\.attn\.add_QKV_proj", "lora_unet_double_blocks_{0}_txt_attn_qkv"),
        (rf"transformer_blocks\.{_N}\.ff\.net\.0\.proj", "lora_unet_double_blocks_{0}_img_mlp_0", _ONE),
        (rf"transformer_blocks\.{_N}\.ff\.net\.2", "lora_unet_double_blocks_{0}_img_mlp_2", _ONE),
    ),
    "flux2": _rules(
        (rf"transformer_blocks\.{_N}\.attn\.to_out\.0", "diffusion_model.double_blocks.{0}.img_attn.proj", _ONE),
        (rf"transformer_blocks\.{_N}\.attn\.to_add_out", "diffusion_model.double_blocks.{0}.txt_attn.proj", _ONE),
        (rf"single_transformer_blocks\.{_N}\.attn\.to_out", "diffusion_model.single_blocks.{0}.linear2", _ONE),
    ),
    "z-image": _rules(
        (rf"layers\.{_N}\.attention\.to_out\.0", "diffusion_model.layers.{0}.attention.to_out.0", _ONE),
        (rf"layers\.{_N}\.attention\.to_(q|k|v)", "diffusion_model.layers.{0}.attention.to_{1}", _ONE),
    ),
    "qwen": lambda path: Key("lora_unet_" + path.replace(".", "_")),
}
