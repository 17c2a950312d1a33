"""Settings for a report, and where in the model maps act."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...maps.card import formula
from ...maps.facts import Facts as MapFacts
from .page import CaptionedPlot, Facts, Section
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


def facts_of_maps(maps: Mapping[str, SteeringMaps]) -> list[Facts]:
    """How each set of maps was learned, and how large it is."""
    found = []
    for name, own in maps.items():
        known = MapFacts.of(own.metadata)
        facts: dict[str, Any] = {key: own.metadata[key] for key in _OF_MAPS if key in own.metadata}
        facts["modules"] = f"{len(own.maps)}, {len(dict(own.acting()))} of them act"
        facts["map"] = formula(own.rank)
        facts["numbers"] = f"{own.size}, {own.support:.2%} of them not zero"
        if losses := known.losses:
            facts["loss"] = f"{losses[0]:.4f} at first, {losses[-1]:.4f} at last, {len(losses)} iterations"
        if curve := known.calibration:
            facts["calibration"] = f"by {curve['measure']}, {len(curve['strengths'])} strengths measured"
        facts |= MapFacts(training=known.training, library_versions=known.library_versions).as_metadata()
        found.append(Facts(f"Steering maps: {name}", flat_facts(facts)))
    return found


def support_section(maps: Mapping[str, SteeringMaps]) -> list[Section]:
    """Pictures of the support per module, where there are maps."""
    if not maps:
        return []
    figures = []
    for name, own in maps.items():
        caption = f"{own.support:.2%} of all numbers are not zero. Colours are the parts of the model."
        figures.append(CaptionedPlot(support_plot(own, title=name), name, caption))
    text = "The share of numbers that are not zero in each steered module, from the first module to the last."
    return [Section("Where in the model it acts", text, figures)]
