"""A LoRA file of steering maps for one program, with what it cannot carry measured before it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from ... import __version__
from ...concepts.files import write_durably
from ...errors import LineaError, make_folder
from ...steering.addresses import model_name
from ..digests import maps_digest
from ..facts import Facts
from .biases import with_carried_biases
from .changes import layer_changes
from .names import FAMILIES, family_of
from .parts import Parts, parts_for
from .probe import Probe
from .programs import Program, program_of

if TYPE_CHECKING:
    from ..steering_maps import SteeringMaps

LARGEST_LOSS = 0.05
"""Share of what maps do to a picture that a file may lose unless told otherwise."""
_ARCHITECTURES = {
    "sd1": ("stable-diffusion-v1/lora", "sd_v1"),
    "sdxl": ("stable-diffusion-xl-v1-base/lora", "sdxl_base_v1-0"),
    "sd3": ("stable-diffusion-v3-medium/lora", "sd3"),
    "flux": ("flux-1-dev/lora", "flux1"),
}
_MOST_SHOWN = 3


@dataclass(frozen=True)
class LoraReport:
    """What a LoRA file carries.

    Attributes:
        program: that it is for.
        family: of models.
        tensors: how many it has.
        size: bytes of the file.
        layers: that it changes.
        lost: what it cannot carry: layer or activation -> what of it, or why.
        loss: share of what the maps do to latents, at strength 1, that the file does not do; rounding counts.
        even: weights at which a quarter, half, three quarters and all of the style are seen; none without a dial.
    """

    program: str
    family: str
    tensors: int
    size: int
    layers: int
    lost: Mapping[str, str] = field(default_factory=dict)
    loss: float = 0.0
    even: tuple[float, ...] = ()

    def __str__(self) -> str:
        lost = f"; not carried: {_listed(self.lost)}" if self.lost else "; nothing is left out"
        return (
            f"{self.layers} layers of {FAMILIES[self.family]} for {program_of(self.program).title}, {self.tensors} "
            f"tensors, {self.size / 1e6:.2f} MB; {self.loss:.2%} of the effect is lost{lost}"
            f"{_told(self.even)}"
        )


def save_lora(
    maps: SteeringMaps,
    path: Path,
    pipe: Any,
    program: str,
    *,
    dtype: torch.dtype = torch.float16,
    largest_loss: float = LARGEST_LOSS,
    approximate_bias: bool = False,
) -> LoraReport:
    """Write maps as a LoRA file; see `SteeringMaps.save_lora`."""
    reader, base = program_of(program), getattr(pipe, "base", pipe)
    family = family_of(base)
    if family is None or family not in reader.families:
        known = ", ".join(FAMILIES[one] for one in reader.families)
        raise LineaError(
            f"got {model_name(base) or type(base).__name__} for {reader.title}, which reads LoRA files for {known}: "
            "expected another program, or load_steering in diffusers"
        )
    if path.suffix != ".safetensors":
        raise LineaError(f"got {str(path)!r}: expected a file that ends in .safetensors")
    probe = Probe(pipe)
    changes, left = layer_changes(base, dict(maps.named_maps()), probe.run)
    nearly = parts_for(reader, family, changes, base).lost if approximate_bias else {}
    changes = with_carried_biases(base, changes, nearly, probe.run) if nearly else changes
    parts = parts_for(reader, family, changes, base, dtype)
    lost = left | {f"{name} ({what})": what for name, what in parts.lost.items()}
    lost |= {f"{name} (bias, but nearly)": "bias" for name, what in nearly.items() if what == "bias"}
    loss = probe.loss(maps, parts.carried)
    if loss > largest_loss:
        raise LineaError(
            f"got maps of which {reader.title} would lose {loss:.0%} of the effect ({_listed(lost) or 'rounding'}): "
            f"expected at most {largest_loss:.0%}; {_advice(reader, parts)}, or allow a larger loss"
        )
    data = save({name: one.contiguous() for name, one in parts.tensors.items()}, _header(maps, family, base, path))
    make_folder(path.parent)
    write_durably(path, data)
    even = _even(Facts.of(maps.metadata))
    return LoraReport(program, family, len(parts.tensors), len(data), len(parts.carried), lost, loss, even)


def _listed(lost: Mapping[str, str]) -> str:
    names = [name if "(" in name else f"{name} ({why})" for name, why in lost.items()]
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more


def _advice(program: Program, parts: Parts) -> str:
    """What to do about a loss."""
    if not program.norms and any(what == "all" for what in parts.lost.values()):
        return "use load_steering, which takes all of it"
    if "bias" in parts.lost.values():
        return "train with shift=False and scale=False, approximate the bias"
    return "use load_steering"


def _header(maps: SteeringMaps, family: str, base: Any, path: Path) -> dict[str, str]:
    """What programs show of a file."""
    facts = Facts.of(maps.metadata)
    name, model = facts.concept or path.stem, facts.base_model or model_name(base) or "unknown"
    about = (
        f"The style {name!r} as learned by LinEAS (arXiv 2503.10679) for {model}: weight 0 is the model, 1 the style."
    )
    header = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": "diffusers",
        "modelspec.title": name,
        "modelspec.date": date.today().isoformat(),
        "modelspec.description": about,
        "modelspec.usage_hint": f"weight -1 to 1; model and clip alike{_told(_even(facts))}",
        "modelspec.trigger_phrase": "",
        "modelspec.tags": "style, slider, lineas",
        "ss_output_name": path.stem,
        "ss_sd_model_name": model,
        "ss_network_module": "networks.lora",
        "linea.version": __version__,
        "linea.maps_sha256": maps_digest(maps),
        "linea.facts": json.dumps({key: maps.metadata[key] for key in _KEPT if key in maps.metadata}),
    }
    if family in _ARCHITECTURES:
        header["modelspec.architecture"], header["ss_base_model_version"] = _ARCHITECTURES[family]
    return header


_KEPT = ("concept", "base_model", "base_class", "text", "neutral", "source_prompts", "calibration")


def _even(facts: Facts) -> tuple[float, ...]:
    """The weights of even steps, where the maps were calibrated."""
    if facts.calibration is None:
        return ()
    from ...steering.dial import Calibration

    weights = Calibration(facts.calibration).positions(torch.tensor([0.25, 0.5, 0.75]))
    return (*map(float, weights), 1.0)


def _told(even: tuple[float, ...]) -> str:
    return f"; even steps at {', '.join(f'{one:.2f}' for one in even)}" if even else ""
