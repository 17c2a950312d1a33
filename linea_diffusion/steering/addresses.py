"""Which activations are steered: modules of a pipeline by preset or pattern, under names that do not move."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from ..errors import LineaError, nearest_name
from .activations import join_address, split_address


def canonical_name(name: str) -> str:
    """A module's name without what torch.compile and transformers versions put in or leave out.

    ``unet._orig_mod.mid_block`` -> ``unet.mid_block``; ``text_encoder.text_model.encoder`` -> ``text_encoder.encoder``.
    """
    parts = name.split(".")
    return ".".join(
        part for i, part in enumerate(parts) if part != "_orig_mod" and not (i == 1 and part == "text_model")
    )


def is_text_encoder(component: str) -> bool:
    """Whether a pipeline component reads the prompt, by its name: text_encoder_2, prior_text_encoder, ..."""
    return "text_encoder" in component or "language" in component


def is_denoiser(component: str) -> bool:
    """Whether a pipeline component predicts noise or velocity, by its name.

    unet, transformer, transformer_2, unconditional_transformer; the prior_prior and decoder of two-stage pipelines.
    """
    words = component.split("_")
    others = is_text_encoder(component) or "encoder" in words
    return not others and not {"unet", "transformer", "prior", "decoder"}.isdisjoint(words)


def steerable_modules(pipe: Any) -> Iterator[tuple[str, nn.Module]]:
    """Every module of the text encoders and denoisers of a diffusers pipeline, as (canonical name, module)."""
    for component, model in pipe.components.items():
        if isinstance(model, nn.Module) and (is_text_encoder(component) or is_denoiser(component)):
            for name, module in named_modules(model, component):
                yield canonical_name(name), module


def module_at(components: Mapping[str, Any], name: str) -> nn.Module | None:
    """The module with a canonical name, if the model itself calls it so: much quicker than going through all."""
    component, _, path = name.partition(".")
    model = components.get(component)
    if not isinstance(model, nn.Module) or not (is_text_encoder(component) or is_denoiser(component)):
        return None
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def named_modules(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """A model's modules by name; a layer that peft put adapters (LoRA) around is one module, as before."""
    hidden: str | None = None
    for name, module in model.named_modules(prefix=prefix):
        if hidden is None or not name.startswith(hidden):
            inside = f"{name}." if name else ""
            hidden = inside if own_layer(module) is not module else None
            yield name, module


def own_layer(module: nn.Module) -> nn.Module:
    """The model's own layer within the adapters that peft put around it, or the module itself."""
    while isinstance(within := getattr(module, "base_layer", None), nn.Module):
        module = within
    return module


_FUSED_PROJECTIONS = {
    "to_qkv": ("to_q", "to_k", "to_v"),
    "to_kv": ("to_k", "to_v"),
    "to_added_qkv": ("add_q_proj", "add_k_proj", "add_v_proj"),
    "to_added_kv": ("add_k_proj", "add_v_proj"),
}


def idle_projections(model: nn.Module) -> set[nn.Module]:
    """The projections of a model that never run, because ``fuse_qkv_projections`` put one layer in their place."""
    return {
        getattr(layer, name)
        for layer in model.modules()
        if _runs_fused(layer)
        for fused, names in _FUSED_PROJECTIONS.items()
        if hasattr(layer, fused)
        for name in names
        if isinstance(getattr(layer, name, None), nn.Module)
    }


def _runs_fused(layer: nn.Module) -> bool:
    """Whether an attention layer runs its fused projections: diffusers' older class says so by its processor alone."""
    if not vars(layer).get("fused_projections", False):
        return False
    return "Fused" in type(getattr(layer, "processor", None)).__name__ or hasattr(layer, "unfuse_projections")


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
    return isinstance(own_layer(module), nn.Linear) and match is not None and match[1] in letters


PRESETS: dict[str, Callable[[str, nn.Module], bool]] = {
    "attention": lambda name, module: is_attention(module),
    "text-attention": lambda name, module: is_attention(module) and is_text_encoder(_component(name)),
    "denoiser-attention": lambda name, module: is_attention(module) and is_denoiser(_component(name)),
    "cross-attention": lambda name, module: is_attention(module) and name.endswith("attn2"),
    "norms": lambda name, module: is_norm(module) and is_denoiser(_component(name)),
    "text-norms": lambda name, module: is_norm(module) and is_text_encoder(_component(name)),
    "mlps": lambda name, module: is_mlp(module) and is_denoiser(_component(name)),
    "text-mlps": lambda name, module: is_mlp(module) and is_text_encoder(_component(name)),
    "queries-keys": lambda name, module: _projects(name, module, "qk") and is_denoiser(_component(name)),
    "values": lambda name, module: _projects(name, module, "v") and is_denoiser(_component(name)),
}
"""Module choices by name: attention outputs of text encoders and denoiser (the default of training), of one of them, of
the denoiser's cross-attention alone; normalisation layers of the denoiser (the paper's choice) or of the text encoders;
feed-forward layers of either; query and key projections, and value projections, of the denoiser."""


def _component(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def find_modules(pipe: Any, target_modules: str | Sequence[str] = "attention") -> dict[str, nn.Module]:
    """The activations of a pipeline that presets or patterns choose.

    Args:
        pipe: a diffusers pipeline.
        target_modules: one or several of `PRESETS`, or regular expressions that must match a whole canonical
            name, such as ``unet.*norm.*``. An ending ``:1`` chooses the second entry of a tuple output, ``:0`` the
            first, as nothing does.

    Returns:
        Activation name -> module, in the order in which the pipeline registers them.

    Raises:
        LineaError: an entry matches no module, and the error names the nearest names; or none that runs.
    """
    named = dict(steerable_modules(pipe))
    models = [model for model in pipe.components.values() if isinstance(model, nn.Module)]
    idle = {module for model in models for module in idle_projections(model)}
    chosen: set[tuple[str, int]] = set()
    for entry in [target_modules] if isinstance(target_modules, str) else target_modules:
        pattern, index = split_address(entry)
        found = {name: module for name, module in named.items() if _matcher(pattern)(name, module)}
        matches = {(name, index) for name, module in found.items() if module not in idle}
        if found and not matches:
            raise LineaError(
                f"got {entry!r}, whose {len(found)} modules never run while fuse_qkv_projections has one layer in "
                "their place: call unfuse_qkv_projections first, or choose others"
            )
        if not matches:
            raise LineaError(
                f"no module of {type(pipe).__name__} matches {entry!r}: expected a preset ({', '.join(PRESETS)}) "
                f"or a regular expression for a whole module name; nearest: {nearest_name(entry, [*PRESETS, *named])}"
            )
        chosen |= matches
    order = {name: number for number, name in enumerate(named)}
    ordered = sorted(chosen, key=lambda place: (order[place[0]], place[1]))
    return {join_address(name, index): named[name] for name, index in ordered}


def _matcher(entry: str) -> Callable[[str, nn.Module], bool]:
    if entry in PRESETS:
        return PRESETS[entry]
    try:
        pattern = re.compile(entry)
    except re.error as error:
        raise LineaError(f"got module pattern {entry!r}: expected a preset or a regular expression ({error})") from None
    return lambda name, module: pattern.fullmatch(name) is not None
