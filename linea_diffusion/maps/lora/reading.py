"""Maps from a LoRA file: every change of a layer that is something done to the layer's output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ...errors import LineaError, reason
from ...steering.activations import Site
from ...steering.addresses import Address, model_name, steerable_modules
from ...steering.affine.affine_map import AffineMap, map_of
from ...steering.affine.layer_moves import move_of_change, move_of_inputs, move_of_scale
from ...steering.presets import find_modules
from ..facts import Facts
from .changes import LayerChange
from .names import Key, family_of, key_of
from .probe import Probe
from .users import users_of

_ENDINGS = (
    ".lora_up.weight", ".lora_down.weight", ".lora_A.weight", ".lora_B.weight", ".lora_B.bias", ".alpha", ".diff_b",
    ".w_norm", ".b_norm",
)  # fmt: skip
_LARGEST_REST = 1e-3
"""Share of a change that may be no change of the layer's output."""


def read_lora(file: Path, pipe: Any) -> tuple[dict[str, AffineMap], dict[str, Any]]:
    """Maps by activation name, which is the layer's, and facts; see `SteeringMaps.from_lora`."""
    base = getattr(pipe, "base", pipe)
    parts, header = _parts(file)
    family = family_of(base)
    layers = {name: module for name, module in steerable_modules(base) if getattr(module, "weight", None) is not None}
    places = {} if family is None else _places(family, layers, base)
    maps: dict[str, AffineMap] = {}
    users = _Users(pipe)
    for name, tensors in parts.items():
        if name not in places:
            raise LineaError(
                f"got {str(file)!r}, whose layer {name!r} is not in {model_name(base) or 'the model'}: expected "
                "a LoRA file of this model"
            )
        for key, layer in places[name]:
            change = _change(layer, key, tensors)
            if change is not None:
                site, affine = _map(change, layers[layer], users)
                if affine is None:
                    raise LineaError(
                        f"got {str(file)!r}, which changes {layer!r} as no steering map does: expected a LoRA file "
                        "that was made of steering maps; use it as it is, with --lora or load_lora_weights"
                    )
                maps[site] = affine
    facts = json.loads(header.get("linea.facts", "{}"))
    known = Facts(concept=file.stem, base_model=model_name(base) or None, base_class=type(base).__name__)
    return maps, known.as_metadata() | (facts if isinstance(facts, dict) else {})


def _parts(file: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, str]]:
    """Key -> ending -> tensor, and the header."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(str(file), "pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                ending = next((one for one in _ENDINGS if name.endswith(one)), None)
                if ending is None:
                    raise LineaError(
                        f"got {str(file)!r} with {name!r}: expected low-rank pairs, biases and normalisations only"
                    )
                parts.setdefault(name.removesuffix(ending), {})[ending] = opened.get_tensor(name).float()
            return parts, opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise LineaError(f"got LoRA file {str(file)!r}: expected a .safetensors file ({reason(error)})") from None


def _places(family: str, layers: Mapping[str, nn.Module], pipe: Any) -> dict[str, list[tuple[Key, str]]]:
    """Key of a file -> the layers that it is about."""
    places: dict[str, list[tuple[Key, str]]] = {}
    for layer in layers:
        for key in _keys(family, layer, pipe):
            places.setdefault(key.name, []).append((key, layer))
    return places


def _keys(family: str, layer: str, pipe: Any) -> Iterator[Key]:
    """All that a layer is called in files."""
    if (key := key_of(family, layer, pipe)) is not None:
        yield key
    address = Address.of(layer)
    path = f"text_model.{address.path}" if address.in_text_encoder else address.path
    yield Key(f"{address.component}.{path}")
    if address.in_text_encoder:
        encoder = "clip_g" if address.component.endswith("_2") else "clip_l"
        yield Key(f"text_encoders.{encoder}.transformer.{path}")
    if address.path == "conv_norm_out":
        yield Key("lora_unet_out_0")


def _change(layer: str, key: Key, tensors: Mapping[str, torch.Tensor]) -> LayerChange | None:
    """What a file says of a layer; None for nothing."""
    at, of = key.block

    def rows(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return tensor if tensor is None or of == 1 else tensor.chunk(of)[at]

    scale = tensors.get(".w_norm")
    if scale is not None:
        return LayerChange(layer, scale=scale, bias=tensors.get(".b_norm"))
    lora_b = rows(tensors.get(".lora_up.weight", tensors.get(".lora_B.weight")))
    lora_a = tensors.get(".lora_down.weight", tensors.get(".lora_A.weight"))
    bias = rows(tensors.get(".diff_b", tensors.get(".lora_B.bias")))
    if lora_b is None or lora_a is None or not (lora_b.any() or (bias is not None and bias.any())):
        return None
    alpha = tensors.get(".alpha")
    return LayerChange(layer, lora_b * (1.0 if alpha is None else float(alpha) / len(lora_a)), lora_a, None, bias)


def _map(change: LayerChange, layer: Any, users: _Users) -> tuple[str, AffineMap | None]:
    """The activation that a change moves, and its map: the layer's output, or what it takes; None for neither."""
    weight, own = layer.weight.detach().float().cpu(), getattr(layer, "bias", None)
    own = None if own is None else own.detach().float().cpu()
    bias = torch.zeros(len(weight)) if change.bias is None else change.bias
    if change.scale is not None:
        return change.layer, map_of(move_of_scale(weight, own, (change.scale, bias)))
    assert change.lora_b is not None
    assert change.lora_a is not None
    move, missed = move_of_change(weight, own, (change.lora_b, change.lora_a, bias))
    if missed > _LARGEST_REST:
        name, columns = users.taken_by(layer)
        move, missed = move_of_inputs(weight, columns, (change.lora_b, change.lora_a, bias)) if name else (move, missed)
        return name, None if missed > _LARGEST_REST else map_of(move)
    return change.layer, map_of(move)


class _Users:
    """The attention outputs that layers take, found by running the pipeline once when somebody asks."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._found: dict[nn.Module, tuple[str, slice]] | None = None

    def taken_by(self, layer: nn.Module) -> tuple[str, slice]:
        """The activation that a layer takes, and in which columns; no name if it takes none."""
        if self._found is None:
            base = getattr(self._pipe, "base", self._pipe)
            sites = [Site.of(name, module) for name, module in find_modules(base, "denoiser-attention").items()]
            with users_of(base, sites) as users:
                Probe(self._pipe).run()
            self._found = {user[0]: (name, user[1]) for name, user in users.items() if user is not None}
        return self._found.get(layer, ("", slice(None)))
