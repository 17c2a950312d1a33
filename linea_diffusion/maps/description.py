"""What a set of maps is, in a few lines: for `repr`, `linea info` and logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..steering.addresses import Address
from .facts import Facts

if TYPE_CHECKING:
    from .steering_maps import SteeringMaps


def described(maps: SteeringMaps) -> dict[str, str]:
    """Name -> text: concept, base model, method, activations, numbers, dial; what maps do not say is left out."""
    facts = Facts.of(maps.metadata)
    base = facts.base_model and f"{facts.base_model} ({facts.base_class})" if facts.base_class else facts.base_model
    told = {
        "concept": facts.concept,
        "base model": base,
        "method": facts.method,
        "activations": activations_of(maps),
        "numbers": support_of(maps),
        "dial": f"calibrated by {facts.calibration['measure']}" if facts.calibration else "the paper's strength",
    }
    return {name: text for name, text in told.items() if text}


def activations_of(maps: SteeringMaps) -> str:
    """How many there are, of which rank, and how many of them act."""
    acting = sum(not affine.is_identity for _, affine in maps.named_maps())
    rank = f", rank {maps.rank} or less" if maps.rank else ", coordinate by coordinate"
    return f"{len(maps.maps)} ({acting} act){rank}"


def support_of(maps: SteeringMaps) -> str:
    """How many numbers are not zero, of how many."""
    return f"{maps.stored:,} of {maps.size:,} not zero ({maps.support:.2%})"


def support_by_component(maps: SteeringMaps) -> dict[str, tuple[int, int, int]]:
    """Component -> (activations, numbers that are not zero, numbers)."""
    sums: dict[str, tuple[int, int, int]] = {}
    for name, affine in maps.named_maps():
        count, stored, size = sums.get(component := Address.of(name).component, (0, 0, 0))
        numbers = sum(part.numel() for part in affine.tensors().values())
        sums[component] = count + 1, stored + affine.stored, size + numbers
    return sums


def aligned(lines: Mapping[str, str], *, indent: str = "") -> str:
    """Names and texts in two columns."""
    width = max(map(len, lines), default=0) + 1
    return "\n".join(f"{indent}{f'{name}:':<{width}} {text}" for name, text in lines.items())
