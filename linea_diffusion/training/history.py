"""How maps were learned, in a few lines: what was set otherwise than by default, losses, time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from .config import TrainingConfig


def changed_settings(training: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings that are not the defaults of `TrainingConfig`, the seed always.

    Args:
        training: settings by name, as maps carry them; tuples may be lists.
    """
    defaults = {
        one.name: one.default_factory() if one.default_factory is not MISSING else one.default
        for one in fields(TrainingConfig)
    }
    return {
        name: value
        for name, value in training.items()
        if name == "seed" or _plain(value) != _plain(defaults.get(name, MISSING))
    }


def history(maps: SteeringMaps) -> dict[str, str]:
    """Name -> text: settings, losses, time, and whether training was stopped; what maps do not say is left out."""
    facts = Facts.of(maps.metadata)
    told: dict[str, str] = {}
    if facts.training:
        changed = changed_settings(facts.training)
        told["settings"] = ", ".join(f"{name}={value}" for name, value in changed.items()) + " (others by default)"
    if losses := facts.losses:
        turns = len((facts.training or {}).get("strengths") or [1])
        first, last = (sum(part) / len(part) for part in (losses[:turns], losses[-turns:]))
        told["loss"] = f"{first:.4g} -> {last:.4g} (means over strengths), {len(losses)} iterations"
    if facts.stopped_after is not None:
        told["stopped"] = f"after {facts.stopped_after} iterations"
    if facts.training_seconds is not None:
        told["training time"] = f"{facts.training_seconds:.0f} seconds, without the calibration"
    if facts.stretch is not None:
        told["stretch"] = f"{facts.stretch:g}"
    if facts.calibration:
        curve = zip(facts.calibration["strengths"], facts.calibration["values"], strict=True)
        told["calibration"] = ", ".join(f"{strength:.3g}: {value:.3g}" for strength, value in curve)
    if facts.library_versions:
        told["made with"] = ", ".join(f"{name} {version}" for name, version in facts.library_versions.items())
    return told


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
