"""Which activations are steered: modules of a pipeline, chosen by preset or pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import starmap
from typing import Any

from torch import nn

from ..errors import LineaError, nearest_hint
from .addresses import Address, base_layer, idle_projections, split_entry, steerable_modules
from .language import steerable
from .preset_names import PATTERNS, check_pattern


def is_attention(module: nn.Module) -> bool:
    """Whether a module is an attention layer: the innermost one whose class is named ...Attention."""
    inner = (child for child in module.modules() if child is not module)
    return _is_named(module, "Attention") and not any(_is_named(child, "Attention") for child in inner)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer: the innermost one with Norm in its class name."""
    inner = (child for child in module.modules() if child is not module)
    return "Norm" in type(module).__name__ and not any("Norm" in type(child).__name__ for child in inner)


def _is_named(module: nn.Module, ending: str) -> bool:
    return type(module).__name__.endswith(ending)


def is_mlp(module: nn.Module) -> bool:
    """Whether a module is a transformer's feed-forward layer, by its class: FeedForward, CLIPMLP, T5DenseActDense."""
    return any(
        part in type(module).__name__ for part in ("FeedForward", "MLP", "Mlp", "DenseActDense", "GatedActDense")
    )


_PROJECTION = re.compile(r".*\.(?:to_|add_)?(q|k|v)(?:_proj)?")


def _projects(name: str, module: nn.Module, letters: str) -> bool:
    match = _PROJECTION.fullmatch(name)
    return isinstance(base_layer(module), nn.Linear) and match is not None and match[1] in letters


def _is_in_maker(name: str) -> bool:
    """Whether an activation is where pictures or texts are made, and no text encoder's."""
    return Address.of(name).in_denoiser or Address.of(name).in_language_model


def _stands_after(name: str) -> bool:
    """Whether a norm is called after what it follows: post_attention_layernorm, post_feedforward_layernorm."""
    return name.rpartition(".")[2].startswith("post_")


PRESETS: dict[str, Callable[[str, nn.Module], bool]] = {
    "attention": lambda name, module: is_attention(module),
    "text-attention": lambda name, module: is_attention(module) and Address.of(name).in_text_encoder,
    "denoiser-attention": lambda name, module: is_attention(module) and Address.of(name).in_denoiser,
    "cross-attention": lambda name, module: is_attention(module) and name.endswith("attn2"),
    "norms": lambda name, module: is_norm(module) and _is_in_maker(name),
    "post-norms": lambda name, module: is_norm(module) and _is_in_maker(name) and _stands_after(name),
    "text-norms": lambda name, module: is_norm(module) and Address.of(name).in_text_encoder,
    "mlps": lambda name, module: is_mlp(module) and _is_in_maker(name),
    "text-mlps": lambda name, module: is_mlp(module) and Address.of(name).in_text_encoder,
    "queries-keys": lambda name, module: _projects(name, module, "qk") and _is_in_maker(name),
    "values": lambda name, module: _projects(name, module, "v") and _is_in_maker(name),
}
"""Module choices by name; `preset_names` says what each is for."""


def find_modules(pipe: Any, target_modules: str | Sequence[str] = "attention") -> dict[str, nn.Module]:
    """The activations of a pipeline that presets or patterns choose.

    Args:
        pipe: a diffusers pipeline, or what `steerable` makes a `LanguageModel` of.
        target_modules: one or several of `PRESETS`; or, as PEFT's target_modules, endings of canonical names (whole
            parts of them: ``attn2``, ``mid_block.attentions.0``) and regular expressions that must match a whole one,
            such as ``unet.*norm.*``. Each may be either, in a list or alone. Behind it, ``:1`` chooses the second
            entry of a tuple output, ``:0`` the first, as nothing does.

    Returns:
        Activation name -> module, in the order in which the pipeline registers them.

    Raises:
        LineaError: an entry matches no module, and the error names the nearest names; or none that runs.
    """
    pipe = steerable(pipe)
    named = dict(steerable_modules(pipe))
    models = [model for model in pipe.components.values() if isinstance(model, nn.Module)]
    idle = {module for model in models for module in idle_projections(model)}
    places: set[tuple[str, int]] = set()
    for entry in [target_modules] if isinstance(target_modules, str) else target_modules:
        pattern, index = split_entry(entry)
        matching = _matcher(pattern)
        candidates = {name: module for name, module in named.items() if matching(name, module)}
        matches = {(name, index) for name, module in candidates.items() if module not in idle}
        if candidates and not matches:
            raise LineaError(
                f"got {entry!r}, whose {len(candidates)} modules never run while fuse_qkv_projections has one layer in "
                "their place: call unfuse_qkv_projections first, or choose others"
            )
        if not matches:
            raise LineaError(
                f"got {entry!r}, which no module of {type(pipe).__name__} matches: expected a preset "
                f"({', '.join(PRESETS)}) or {PATTERNS}{nearest_hint(entry, [*PRESETS, *named])}"
            )
        places |= matches
    order = {name: number for number, name in enumerate(named)}
    ordered = sorted(places, key=lambda place: (order[place[0]], place[1]))
    return {replace(Address.of(name), entry=entry).name: named[name] for name, entry in ordered}


def find_presets(pipe: Any) -> dict[str, dict[str, nn.Module]]:
    """Preset -> the activations of a pipeline that it chooses, as `find_modules`; none where it fits no module."""
    pipe = steerable(pipe)
    named = dict(steerable_modules(pipe))
    fitting = {name: any(starmap(chooses, named.items())) for name, chooses in PRESETS.items()}
    return {name: find_modules(pipe, name) if fits else {} for name, fits in fitting.items()}


def _matcher(entry: str) -> Callable[[str, nn.Module], bool]:
    if entry in PRESETS:
        return PRESETS[entry]
    check_pattern(entry)
    pattern = re.compile(entry)
    ending = f".{entry}"
    return lambda name, module: f".{name}".endswith(ending) or pattern.fullmatch(name) is not None
