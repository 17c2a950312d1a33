"""Settings for a report, and where in the model maps act."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...maps.card import formula
from ...maps.facts import Facts
from .page import CaptionedPlot, FactTable, Section
from .plots import support_plot

if TYPE_CHECKING:
    from ...maps.steering_maps import SteeringMaps

_OF_MAPS = ("concept", "method", "text", "neutral", "base_model", "base_class", "prompts_sha256", "weights_sha256")


def flat_facts(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (name, value) pairs of text; names of inner settings follow the outer name."""
    pairs: list[tuple[str, str]] = []
    for name, value in facts.items():
        title = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            pairs += flat_facts(value, f"{title}: ")
        elif isinstance(value, list | tuple):
            pairs.append((title, ", ".join(map(str, value))))
        else:
            pairs.append((title, "not given" if value is None else str(value)))
    return pairs


def facts_of_maps(maps: Mapping[str, SteeringMaps]) -> list[FactTable]:
    """How each set of maps was learned, and how large it is."""
    tables = []
    for name, one in maps.items():
        history = Facts.of(one.metadata)
        facts: dict[str, Any] = {key: one.metadata[key] for key in _OF_MAPS if key in one.metadata}
        facts["modules"] = f"{len(one.maps)}, {len(dict(one.acting()))} of them act"
        facts["map"] = formula(one.rank)
        facts["numbers"] = f"{one.size}, {one.support:.2%} of them not zero"
        if losses := history.losses:
            facts["loss"] = f"{losses[0]:.4f} at first, {losses[-1]:.4f} at last, {len(losses)} iterations"
        if history.training_seconds is not None:
            facts["training time"] = f"{history.training_seconds:.0f} seconds"
        if curve := history.calibration:
            facts["calibration"] = f"by {curve['measure']}, {len(curve['strengths'])} strengths measured"
        facts |= Facts(training=history.training, library_versions=history.library_versions).as_metadata()
        tables.append(FactTable(f"Steering maps: {name}", flat_facts(facts)))
    return tables


def support_section(maps: Mapping[str, SteeringMaps]) -> list[Section]:
    """Pictures of the support per module, where there are maps."""
    if not maps:
        return []
    figures = []
    for name, one in maps.items():
        caption = f"{one.support:.2%} of all numbers are not zero. Colours are the parts of the model."
        figures.append(CaptionedPlot(support_plot(one, title=name), name, caption))
    text = "The share of numbers that are not zero in each steered module, from the first module to the last."
    return [Section("Where in the model it acts", text, figures)]
