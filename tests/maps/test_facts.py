"""What maps say of themselves: one reading of their metadata, and back."""

from __future__ import annotations

from linea_diffusion import SteeringMaps
from linea_diffusion.maps.facts import Facts

FACTS = {"concept": "neon", "base_model": "shapeland-unet", "text": "a neon picture", "neutral": "a picture"}


def test_metadata_is_read_and_written_back_without_what_is_its_owners():
    facts = Facts.of({**FACTS, "mine": 1})
    assert (facts.concept, facts.base_model, facts.losses) == ("neon", "shapeland-unet", None)
    assert facts.as_metadata() == FACTS
    assert Facts.of(facts.as_metadata()) == facts


def test_nothing_learned_and_nothing_stopped_are_facts():
    facts = Facts(losses=[], stopped_after=0)
    assert facts.as_metadata() == {"stopped_after": 0, "losses": []}


def test_texts_come_in_pairs():
    assert Facts.of(FACTS).pair == ("a neon picture", "a picture")
    assert Facts(text="a neon picture").pair is None


def test_sums_of_maps_keep_their_model_and_name_their_parts():
    maps = SteeringMaps({"unet.a": 2}, {**FACTS, "losses": [1.0]})
    assert list((maps + maps).metadata.items()) == [("base_model", "shapeland-unet"), ("concept", "(neon) + (neon)")]
    assert Facts.of((2 * SteeringMaps({"unet.a": 2})).metadata).concept == "2 * (maps)"
