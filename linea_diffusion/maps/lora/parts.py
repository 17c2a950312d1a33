"""The tensors of a LoRA file: the changes of layers under the names and in the parts that one program reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ...steering.addresses import Address, steerable_modules
from .changes import LayerChange
from .names import Key, key_of
from .programs import Program

_BOTH = ("text_encoder", "text_encoder_2")
CLIPS = {"sd1": _BOTH[:1], "flux": _BOTH[:1], "sdxl": _BOTH, "sd3": _BOTH}
"""Text encoders whose LoRA diffusers loads, by family."""


@dataclass
class Parts:
    """What a program can be given of some changes.

    Attributes:
        tensors: of the file, by key.
        carried: the changes as the program will apply them.
        lost: layer -> what of it the file cannot hold.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    carried: list[LayerChange] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)


def parts_for(
    program: Program, family: str, changes: Sequence[LayerChange], pipe: Any, dtype: torch.dtype = torch.float32
) -> Parts:
    """The tensors of a file for one program.

    Args:
        program: that reads it.
        family: of the model, one of `FAMILIES`.
        changes: of its layers.
        pipe: a diffusers pipeline of that model.
        dtype: of low-rank matrices; what is added to normalisations and biases stays float32.
    """
    rounded = [_rounded(change, dtype) for change in changes]
    return _peft_parts(family, rounded, dtype) if program.peft else _slider_parts(program, family, rounded, pipe, dtype)


def _rounded(change: LayerChange, dtype: torch.dtype) -> LayerChange:
    if change.lora_b is None or change.lora_a is None:
        return change
    return replace(change, lora_b=change.lora_b.to(dtype).float(), lora_a=change.lora_a.to(dtype).float())


def _slider_parts(
    program: Program, family: str, changes: Sequence[LayerChange], pipe: Any, dtype: torch.dtype
) -> Parts:
    """For programs with a slider: pairs with alpha, ``.diff_b`` beside them, ``.w_norm`` and ``.b_norm``."""
    modules, parts = dict(steerable_modules(pipe)), Parts()
    pairs: dict[str, list[tuple[Key, LayerChange]]] = defaultdict(list)
    for change in changes:
        key, biased = _key(program, family, change, pipe), getattr(modules[change.layer], "bias", None) is not None
        if key is None or (change.is_norm and not biased):  # both numbers of a normalisation, or neither
            parts.lost[change.layer] = "all"
        elif change.is_norm:
            parts.tensors |= _norm_tensors(key.name, change)
            parts.carried.append(change)
        else:
            has_place = biased and program.bias and "." not in key.name
            if change.bias is not None and not has_place:
                parts.lost[change.layer] = "bias"
                parts.carried.append(replace(change, bias=None))
            else:
                parts.carried.append(change)
            pairs[key.name].append((key, parts.carried[-1]))
    for name, group in pairs.items():
        parts.tensors |= _pair_tensors(name, group, dtype)
    if program.name == "invokeai" and family == "sd1":
        parts.tensors |= _zero_pair(pipe.unet)
    return parts


def _key(program: Program, family: str, change: LayerChange, pipe: Any) -> Key | None:
    key = key_of(family, change.layer, pipe)
    if key is None or not change.is_norm:
        return key
    in_text = Address.of(change.layer).in_text_encoder
    if not (program.text_norms if in_text else program.norms):
        return None
    if program.name == "comfyui" and in_text:
        encoder = "clip_l" if key.name.startswith(("lora_te_", "lora_te1_")) else "clip_g"
        return Key(f"text_encoders.{encoder}.transformer.text_model.{Address.of(change.layer).path}")
    if program.name == "a1111" and key.name == "lora_unet_conv_norm_out":
        return Key("lora_unet_out_0")
    return key


def _norm_tensors(name: str, change: LayerChange) -> dict[str, torch.Tensor]:
    assert change.scale is not None
    bias = torch.zeros_like(change.scale) if change.bias is None else change.bias
    return {f"{name}.w_norm": change.scale.cpu(), f"{name}.b_norm": bias.cpu()}


def _pair_tensors(name: str, group: Sequence[tuple[Key, LayerChange]], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """One layer's pair; those of q, k and v in one layer stand in blocks of rows."""
    ups, biases = [], []
    for key, change in group:
        assert change.lora_b is not None
        at, of = key.block
        rows = len(change.lora_b)
        up = change.lora_b.new_zeros(of * rows, change.lora_b.shape[1])
        up[at * rows : (at + 1) * rows] = change.lora_b
        ups.append(up)
        if change.bias is not None:
            bias = change.bias.new_zeros(of * rows)
            bias[at * rows : (at + 1) * rows] = change.bias
            biases.append(bias)
    up, down = torch.cat(ups, 1), torch.cat([change.lora_a for _, change in group if change.lora_a is not None])
    if not up.shape[1]:  # a bias alone is refused by some: an empty pair goes before it
        up, down = up.new_zeros(len(up), 1), down.new_zeros(1, down.shape[1])
    if "." in name:
        return {f"{name}.lora_A.weight": down.to(dtype), f"{name}.lora_B.weight": up.to(dtype)}
    tensors = {f"{name}.lora_up.weight": up.to(dtype), f"{name}.lora_down.weight": down.to(dtype)}
    tensors[f"{name}.alpha"] = torch.tensor(float(up.shape[1]))
    return tensors | ({f"{name}.diff_b": sum(biases[1:], biases[0])} if biases else {})


def _zero_pair(unet: Any) -> dict[str, torch.Tensor]:
    """A pair that adds nothing, by which InvokeAI knows what a file is for."""
    for path, module in unet.named_modules():
        if path.endswith("attn2.to_k"):
            name = "lora_unet_" + path.replace(".", "_")
            rows, columns = module.weight.shape
            pair = {f"{name}.lora_up.weight": torch.zeros(rows, 1), f"{name}.lora_down.weight": torch.zeros(1, columns)}
            return {**pair, f"{name}.alpha": torch.tensor(1.0)}
    return {}


def _peft_parts(family: str, changes: Sequence[LayerChange], dtype: torch.dtype) -> Parts:
    """For diffusers: as peft names them, all of one rank (alpha is one number), with a bias everywhere or nowhere."""
    parts = Parts()
    for change in changes:
        if change.is_norm or not _is_known(family, Address.of(change.layer)):
            parts.lost[change.layer] = "all"
        else:
            parts.carried.append(change)
    rank = max((change.lora_b.shape[1] for change in parts.carried if change.lora_b is not None), default=0) or 1
    biased = any(change.bias is not None for change in parts.carried)
    for change in parts.carried:
        assert change.lora_b is not None
        assert change.lora_a is not None
        address = Address.of(change.layer)
        path = f"text_model.{address.path}" if address.in_text_encoder else address.path
        name = f"{address.component}.{path}"
        up = torch.nn.functional.pad(change.lora_b, (0, rank - change.lora_b.shape[1]))
        down = torch.nn.functional.pad(change.lora_a, (0, 0, 0, rank - len(change.lora_a)))
        parts.tensors |= {f"{name}.lora_A.weight": down.to(dtype), f"{name}.lora_B.weight": up.to(dtype)}
        if biased:
            bias = up.new_zeros(len(up)) if change.bias is None else change.bias
            parts.tensors[f"{name}.lora_B.bias"] = bias.to(dtype)
    return parts


def _is_known(family: str, address: Address) -> bool:
    """Whether diffusers loads a LoRA for a component."""
    if not address.in_text_encoder:
        return True
    return address.component in CLIPS.get(family, ()) and address.path.startswith("encoder.layers.")
