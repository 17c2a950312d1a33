"""Where an activation is, by a name that does not move, and what a pipeline has there."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import LineaError, nearest_hint

LANGUAGE_MODEL = "language_model"
"""The one component of a language model."""


@dataclass(frozen=True)
class Address:
    """Where an activation is in a pipeline: ``unet.mid_block.attn:1`` is the second entry of what ``mid_block.attn``
    puts out in the component ``unet``; ``:0``, or no ending, is the first.

    Attributes:
        component: of the pipeline.
        path: of the module within it; empty for the component itself.
        entry: number of the activation in a tuple output.
    """

    component: str
    path: str = ""
    entry: int = 0

    @classmethod
    @functools.lru_cache(maxsize=4096)
    def of(cls, name: str) -> Address:
        """The address that an activation's name is; also of a module or a component."""
        module, entry = split_entry(name)
        component, _, path = module.partition(".")
        return cls(component, path, entry)

    @property
    def module_name(self) -> str:
        """The name of its module."""
        return f"{self.component}.{self.path}" if self.path else self.component

    @property
    def name(self) -> str:
        """The inverse of `of`; entry 0 needs no ending."""
        return f"{self.module_name}:{self.entry}" if self.entry else self.module_name

    @functools.cached_property
    def in_text_encoder(self) -> bool:
        """Whether its component reads the prompt."""
        return is_text_encoder(self.component)

    @functools.cached_property
    def in_denoiser(self) -> bool:
        """Whether its component predicts noise or velocity."""
        return is_denoiser(self.component)

    @functools.cached_property
    def in_language_model(self) -> bool:
        """Whether its component writes text, see `steering.language.LanguageModel`."""
        return self.component == LANGUAGE_MODEL

    @property
    def has_role(self) -> bool:
        """Whether its component is of a kind that is steered."""
        return self.in_text_encoder or self.in_denoiser or self.in_language_model


def split_entry(name: str) -> tuple[str, int]:
    """What stands before the ending ``:1``, and its number."""
    match = re.fullmatch(r"(.*):(\d+)", name)
    return (match[1], int(match[2])) if match else (name, 0)


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
    return "text_encoder" in component or ("language" in component and component != LANGUAGE_MODEL)


def is_denoiser(component: str) -> bool:
    """Whether a pipeline component predicts noise or velocity, by its name.

    unet, transformer, transformer_2, unconditional_transformer; the prior_prior and decoder of two-stage pipelines.
    """
    words = component.split("_")
    others = is_text_encoder(component) or "encoder" in words
    return not others and not {"unet", "transformer", "prior", "decoder"}.isdisjoint(words)


def steerable_modules(pipe: Any) -> Iterator[tuple[str, nn.Module]]:
    """Every module of the text encoders and denoisers of a diffusers pipeline, or of a language model, as (canonical
    name, module)."""
    for component, model in pipe.components.items():
        if isinstance(model, nn.Module) and Address(component).has_role:
            for name, module in named_modules(model, component):
                yield canonical_name(name), module


def model_name(pipe: Any) -> str:
    """The name or folder that a pipeline was loaded from; empty if it was made in another way."""
    name = getattr(pipe, "name_or_path", "") or getattr(pipe.config, "_name_or_path", "")
    return str(name or getattr(pipe, "_pretrained_model_name_or_path", "") or "")


def locate(pipe: Any, names: Iterable[str], *, base: str = "another model") -> dict[str, nn.Module]:
    """The modules of some activations, by activation name.

    Components that the pipeline does without (they are None) are left out: maps of them rest.

    Args:
        pipe: a diffusers pipeline.
        names: of activations.
        base: what their maps were made for, for the error.

    Raises:
        LineaError: a module is missing: the maps were made for another model.
    """
    components = pipe.components
    places = {name: Address.of(name) for name in names}
    modules = {
        name: _module_at(components, one)
        for name, one in places.items()
        if components.get(one.component, one) is not None
    }
    missing = [name for name, module in modules.items() if module is None]
    if missing:
        present = dict(steerable_modules(pipe))
        for name in missing:
            if Address.of(name).module_name not in present:
                raise LineaError(
                    f"got maps of {base} whose module {name!r} is not in {model_name(pipe) or 'the model'} "
                    f"({type(pipe).__name__}): expected maps that were trained on this base model; load those, train "
                    f"new ones, or choose some by maps.subset{nearest_hint(name, present)}"
                )
            modules[name] = present[Address.of(name).module_name]
    return {name: module for name, module in modules.items() if module is not None}


def _module_at(components: Mapping[str, Any], address: Address) -> nn.Module | None:
    """The module at an address, if the model itself calls it so: much quicker than going through all."""
    model = components.get(address.component)
    if not isinstance(model, nn.Module) or not address.has_role:
        return None
    try:
        return model.get_submodule(address.path)
    except AttributeError:
        return None


def absent(pipe: Any, names: Iterable[str]) -> list[str]:
    """The activations whose component the pipeline does without (it is None)."""
    without = {component for component, model in pipe.components.items() if model is None}
    return [name for name in names if Address.of(name).component in without]


def named_modules(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """A model's modules by name; a layer that peft put adapters (LoRA) around is one module, as before."""
    hidden: str | None = None
    for name, module in model.named_modules(prefix=prefix):
        if hidden is None or not name.startswith(hidden):
            inside = f"{name}." if name else ""
            hidden = inside if base_layer(module) is not module else None
            yield name, module


def base_layer(module: nn.Module) -> nn.Module:
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


def refuse_idle(pipe: Any, modules: Mapping[str, nn.Module]) -> None:
    """Raise if some modules, by activation name, are projections that never run.

    Raises:
        LineaError: they are.
    """
    components = dict.fromkeys(Address.of(name).component for name in modules)
    idle = {module for component in components for module in idle_projections(pipe.components[component])}
    names = [name for name, module in modules.items() if module in idle]
    if names:
        raise LineaError(
            f"got maps of {len(names)} projections (such as {names[0]!r}) that never run while fuse_qkv_projections "
            "has one layer in their place: call unfuse_qkv_projections first, or load maps without them (maps.subset)"
        )


def _runs_fused(layer: nn.Module) -> bool:
    """Whether an attention layer runs its fused projections: diffusers' older class says so by its processor alone."""
    if not vars(layer).get("fused_projections", False):
        return False
    return "Fused" in type(getattr(layer, "processor", None)).__name__ or hasattr(layer, "unfuse_projections")
