"""LoRA files as programs with a slider apply them: base weights plus s times the file, by their public rules.

Written anew from those rules (ComfyUI, Forge): low-rank pairs scaled by alpha over rank, biases beside them, both parts
of a normalisation, all times the weight of the slider. Which key is which layer is told by the programs' own
conventions and, for SDXL, by diffusers' converter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers
from safetensors.torch import load_file

Delta = dict[str, torch.Tensor]


def groups_of(file: Path) -> dict[str, Delta]:
    """Key without its ending -> ending -> tensor."""
    groups: dict[str, Delta] = {}
    for name, tensor in load_file(file).items():
        key = re.sub(r"\.(lora_(up|down|A|B)\.weight|alpha|diff_b|[wb]_norm)$", "", name)
        groups.setdefault(key, {})[name[len(key) + 1 :]] = tensor.float()
    return groups


def pair(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What a pair adds to a weight."""
    up = tensors.get("lora_up.weight", tensors.get("lora_B.weight"))
    down = tensors.get("lora_down.weight", tensors.get("lora_A.weight"))
    return up @ down * (float(tensors["alpha"]) / len(down) if "alpha" in tensors else 1.0)


@contextmanager
def applied(file: Path, strength: float, layer_of: Callable[[str], list]) -> Iterator[int]:
    """Within the context the pipeline's layers have the file at a strength; yields how many keys were used."""
    kept, groups = [], groups_of(file)
    with torch.no_grad():
        for key, tensors in groups.items():
            for layer, rows in layer_of(key):
                if "w_norm" in tensors:
                    weight, bias = tensors["w_norm"], tensors["b_norm"]
                else:
                    weight, bias = pair(tensors)[rows], tensors.get("diff_b")
                    bias = None if bias is None else bias[rows]
                for parameter, delta in ((layer.weight, weight), (getattr(layer, "bias", None), bias)):
                    if delta is not None:
                        kept.append((parameter, parameter.clone()))
                        parameter.add_(strength * delta)
        try:
            yield len(groups)
        finally:
            for parameter, before in reversed(kept):
                parameter.copy_(before)


WHOLE = slice(None)


def unet_layers(pipe) -> Callable[[str], list]:
    """Stable Diffusion 1: every module's diffusers name with underscores."""
    names = {f"lora_unet_{name}".replace(".", "_"): one for name, one in pipe.unet.named_modules()}
    names |= _clip_layers(pipe.text_encoder, "lora_te_")
    return lambda key: [(names[key], WHOLE)]


def sdxl_layers(pipe) -> Callable[[str], list]:
    """Stable Diffusion XL: attention by diffusers' own converter of the original names."""
    names = {f"lora_unet_{name}".replace(".", "_"): one for name, one in pipe.unet.named_modules()}
    names |= _clip_layers(pipe.text_encoder, "lora_te1_") | _clip_layers(pipe.text_encoder_2, "lora_te2_")

    def layers(key: str) -> list:
        if key.startswith("lora_unet_"):
            (key,) = (
                one.removesuffix(".alpha")
                for one in _maybe_map_sgm_blocks_to_diffusers({f"{key}.alpha": torch.ones(1)}, pipe.unet.config)
            )
        for old, new in (
            ("input_blocks", "down_blocks"),
            ("middle_block", "mid_block"),
            ("output_blocks", "up_blocks"),
        ):
            key = key.replace(old, new)
        return [(names[key], WHOLE)]

    return layers


def _clip_layers(model, prefix: str) -> dict[str, torch.nn.Module]:
    names = {}
    for name, module in model.named_modules():
        path = name if name.startswith("text_model") else f"text_model.{name}"
        names[f"{prefix}{path}".replace(".", "_")] = module
        names[f"text_encoders.{'clip_g' if prefix == 'lora_te2_' else 'clip_l'}.transformer.{path}"] = module
    return names


def transformer_layers(pipe, rules: Mapping[str, str]) -> Callable[[str], list]:
    """Transformers: a regular expression of keys -> the module's path; several paths are blocks of rows."""

    def layers(key: str) -> list:
        if key.startswith("lora_te"):
            number = re.match(r"lora_te(\d)_", key)[1]
            encoder = pipe.text_encoder if number == "1" else getattr(pipe, f"text_encoder_{number}")
            return [(_clip_layers(encoder, f"lora_te{number}_")[key], WHOLE)]
        ((pattern, paths),) = [(one, path) for one, path in rules.items() if re.fullmatch(one, key)]
        modules = [pipe.transformer.get_submodule(re.sub(pattern, path, key)) for path in paths.split(" ")]
        width = len(modules[0].weight)
        return [(module, slice(i * width, (i + 1) * width)) for i, module in enumerate(modules)]

    return layers
