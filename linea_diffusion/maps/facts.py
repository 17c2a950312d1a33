"""The facts that steering maps carry: JSON's own types, and the types that this project knows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from ..errors import LineaError, short

TEXT = "text"
"""The task of maps that steer a language model."""


@dataclass(frozen=True)
class Facts:
    """What maps say of themselves, None where they do not. Files and `SteeringMaps.metadata` have it as a dict.

    Attributes:
        concept: its name.
        prompts_sha256: of its prompts.
        base_model: name or folder of the model that the maps were learned on.
        base_class: of its pipeline, or of a language model.
        task: `TEXT` for maps of a language model; None for pictures.
        training: the settings, as a dict of `TrainingConfig`.
        text: what pictures of the concept are scored against.
        neutral: and what those without it are.
        source_prompts: some of those that the maps steer from, which is what calibrating them needs.
        method: that fitted the maps, if it is not training.
        stopped_after: iterations, if training was stopped.
        losses: of the iterations.
        training_seconds: that learning took, with what came before an interruption, without the calibration.
        stretch: what the maps were multiplied with when training ended.
        calibration: a curve, see `calibrate`.
        library_versions: name -> version, of the libraries that wrote the file.
    """

    concept: str | None = None
    prompts_sha256: str | None = None
    base_model: str | None = None
    base_class: str | None = None
    task: str | None = None
    training: Mapping[str, Any] | None = None
    text: str | None = None
    neutral: str | None = None
    source_prompts: list[str] | None = None
    method: str | None = None
    stopped_after: int | None = None
    losses: list[float] | None = None
    training_seconds: float | None = None
    stretch: float | None = None
    calibration: dict[str, Any] | None = None
    library_versions: Mapping[str, str] | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Facts:
        """The facts among metadata; other keys are its owner's."""
        return cls(**{field.name: metadata.get(field.name) for field in fields(cls)})

    def as_metadata(self) -> dict[str, Any]:
        """Those that are known, by name."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in named if value is not None}

    @property
    def pair(self) -> tuple[str, str] | None:
        """Text and neutral text, if both are known."""
        return None if self.text is None or self.neutral is None else (self.text, self.neutral)


_TEXTS = ("base_model", "base_class", "task", "concept", "text", "neutral", "prompts_sha256")
_TABLES = ("training", "library_versions")
_DEEPEST = 32


def check_metadata(metadata: Any, place: str) -> dict[str, Any]:
    """Metadata as JSON gives it back: tuples become lists, everything else stays.

    Args:
        metadata: what to check.
        place: where it stands, for the error.

    Raises:
        LineaError: something that JSON cannot hold, such as NaN or a tensor, or a known fact of another type.
    """
    if not isinstance(metadata, Mapping):
        raise LineaError(f"got metadata {short(metadata)} in {place}: expected a dict of facts")
    facts = {key: _plain(value, str(key), place, 0) for key, value in metadata.items() if _is_key(key, place)}
    for key in _TEXTS:
        _expect(isinstance(facts.get(key, ""), str), facts, key, place, "text")
    for key in _TABLES:
        _expect(isinstance(facts.get(key, {}), dict), facts, key, place, "a dict")
    prompts = facts.get("source_prompts", [])
    fits = isinstance(prompts, list) and all(isinstance(one, str) for one in prompts)
    _expect(fits, facts, "source_prompts", place, "a list of texts")
    _expect(_are_numbers(facts.get("losses", [])), facts, "losses", place, "a list of numbers")
    _expect(_are_numbers([facts.get("training_seconds", 0)]), facts, "training_seconds", place, "a number")
    if "calibration" in facts:
        _check_calibration(facts, place)
    return facts


def _plain(value: Any, name: str, place: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise LineaError(f"got metadata nested deeper than {_DEEPEST} levels in {place}: expected plain facts")
    if value is None or isinstance(value, str):
        return value
    if (isinstance(value, int) and value.bit_length() <= 64) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{name}[{i}]", place, depth + 1) for i, entry in enumerate(value)]
    if isinstance(value, Mapping):
        return {
            key: _plain(entry, f"{name}.{key}", place, depth + 1) for key, entry in value.items() if _is_key(key, place)
        }
    raise LineaError(
        f"got {short(value)} for {name!r} in {place}: expected what JSON can hold (text, finite numbers, true, false, "
        "null, lists, dicts; whole numbers of 64 bits at most); convert it or leave it out"
    )


def _is_key(key: Any, place: str) -> bool:
    if not isinstance(key, str):
        raise LineaError(f"got the key {short(key)} in {place}: expected text as key; write it as {str(key)!r}")
    return True


def _expect(fits: bool, facts: Mapping[str, Any], key: str, place: str, expected: str) -> None:
    if not fits:
        raise LineaError(f"got {short(facts.get(key))} for {key!r} in {place}: expected {expected}; correct it")


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _check_calibration(facts: Mapping[str, Any], place: str) -> None:
    """A calibration is a curve: at ``strengths[i]`` the style is seen to the share ``values[i]``."""
    curve = facts["calibration"]
    keys = {"strengths", "values", "measure"}
    fits = isinstance(curve, dict) and curve.keys() == keys and isinstance(curve["measure"], str)
    _expect(fits, facts, "calibration", place, f"a dict of {', '.join(sorted(keys))} (a text)")
    strengths, values = curve["strengths"], curve["values"]
    fits = _is_curve(strengths) and _is_curve(values) and len(strengths) == len(values)
    fits = fits and all(left < right for left, right in pairwise(strengths))
    expected = "strengths that rise and as many values that never fall, both from 0 to 1, two or more; calibrate again"
    _expect(fits, facts, "calibration", place, expected)


def _is_curve(values: Any) -> bool:
    if not _are_numbers(values) or len(values) < 2 or values[0] != 0 or values[-1] != 1:
        return False
    return all(left <= right for left, right in pairwise(values))
