"""What a steered pipeline is, in a few lines."""

from __future__ import annotations

from typing import Any

from ..maps.description import support_of
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..steering.addresses import model_name
from .adapters import Adapters


def described(kind: str, base: Any, steering: Adapters) -> str:
    """Base class and model, and a line for each adapter: at which strength it acts in calls that give none, and what.

    Args:
        kind: name of the wrapper's class.
        base: the wrapped pipeline.
        steering: its adapters.
    """
    model = model_name(base)
    head = " ".join(filter(None, (f"{kind} over {type(base).__name__}", model)))
    if not steering:
        return f"{head}, no adapters"
    active = steering.active()
    state = " (fused into the weights)" if steering.fusion else "" if steering.enabled else " (disabled)"
    lines = [_line(name, maps, active.get(name, 0)) for name, maps in steering.items()]
    return "\n".join([f"{head}, {len(lines)} adapter{'s' if len(lines) > 1 else ''}{state}:", *lines])


def _line(name: str, maps: SteeringMaps, strength: float | list[float]) -> str:
    shown = f"{strength:g}" if isinstance(strength, float | int) else ", ".join(f"{one:g}" for one in strength)
    concept = Facts.of(maps.metadata).concept
    what = "" if concept in (None, name) else f"concept {concept}, "
    return f"  {name} at {shown}: {what}{len(maps.maps)} activations, {support_of(maps)}"
