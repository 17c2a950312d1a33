"""What a set of maps is, in a few lines: for `repr`, `linea info` and logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..steering.addresses import Address
from .card import formula
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
        "map": formula(maps.rank),
        "numbers": support_of(maps),
        "dial": f"calibrated by {facts.calibration['measure']}" if facts.calibration else "the paper's strength",
    }
    return {name: text for name, text in told.items() if text}


def activations_of(maps: SteeringMaps) -> str:
    """How many there are, and how many of them act."""
    return f"{len(maps.maps)}, of which {sum(not affine.is_identity for _, affine in maps.named_maps())} act"


def support_of(maps: SteeringMaps) -> str:
    """How many numbers are not zero, of how many."""
    return f"{maps.stored:,} of {maps.size:,} not zero ({maps.support:.2%})"


def by_component(maps: SteeringMaps) -> str:
    """A table: component, activations, numbers, and how many of them are not zero."""
    sums: dict[str, list[int]] = {}
    for name, affine in maps.named_maps():
        numbers = sum(part.numel() for part in affine.tensors().values())
        row = sums.setdefault(Address.of(name).component, [0, 0, 0])
        sums[Address.of(name).component] = [
            old + new for old, new in zip(row, (1, numbers, affine.stored), strict=True)
        ]
    lines = [f"{'component':<20} {'activations':>11} {'numbers':>11} {'not zero':>11} {'support':>8}"]
    for component, (count, size, stored) in sums.items():
        lines.append(f"{component:<20} {count:>11,} {size:>11,} {stored:>11,} {stored / max(size, 1):>8.2%}")
    return "\n".join(lines)


def aligned(lines: Mapping[str, str], *, indent: str = "") -> str:
    """Names and texts in two columns."""
    width = max(map(len, lines), default=0) + 1
    return "\n".join(f"{indent}{f'{name}:':<{width}} {text}" for name, text in lines.items())
