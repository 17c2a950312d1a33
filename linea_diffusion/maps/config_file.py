"""``config.json`` of steering maps: strict JSON, its format version, and the digests that tie it to the numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..errors import LineaError, reason, short

FORMAT_VERSION = 3
RESERVED = ("format_version", "modules", "config_sha256", "weights_sha256")


def write_config(modules: Mapping[str, Any], facts: Mapping[str, Any], weights: bytes) -> dict[str, Any]:
    """The contents of ``config.json``.

    Args:
        modules: module name -> shape.
        facts: JSON-able, with none of the `RESERVED` names.
        weights: the bytes of the file of numbers, whose SHA-256 is put down.

    Raises:
        LineaError: a fact with a reserved name.
    """
    taken = [key for key in RESERVED if key in facts]
    if taken:
        raise LineaError(f"got {taken[0]!r} in the metadata: expected other names, because the file uses this one")
    config = {"format_version": FORMAT_VERSION, "modules": dict(modules), **facts}
    return {**config, "config_sha256": config_digest(config), "weights_sha256": hashlib.sha256(weights).hexdigest()}


def read_config(text: bytes, place: str) -> dict[str, Any]:
    """The contents of a ``config.json`` whose format is known.

    Args:
        text: the file.
        place: where it stands, for the error.

    Raises:
        LineaError: no JSON (NaN is none, nor the same key twice), no object, or an unknown format version.
    """
    try:
        config = json.loads(text.decode(), parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise LineaError(
            f"got {place} that is damaged ({reason(error)}): expected JSON as saved; save or download it again"
        ) from None
    if not isinstance(config, dict):
        raise LineaError(f"got {short(config)} as {place}: expected a JSON object as saved; save or download it again")
    version = config.get("format_version")
    if type(version) is not int or version < 1:
        raise LineaError(
            f"got format version {short(version)} in {place}: expected 1 to {FORMAT_VERSION}; save it again"
        )
    if version > FORMAT_VERSION:
        raise LineaError(
            f"got format version {short(version)} in {place}: expected at most {FORMAT_VERSION}; update linea-diffusion"
        )
    return config


def check_digests(config: Mapping[str, Any], weights: bytes, source: str) -> None:
    """Whether nobody changed the config after saving, and the numbers are those of the same save.

    Raises:
        LineaError: one of the two digests is another, or missing.
    """
    actual = config_digest(config)
    if config.get("config_sha256") != actual:
        raise LineaError(
            f"got a config.json of {source!r} that was changed after it was saved: expected it as saved; save or "
            f"download it again, or, if the change is yours, set its config_sha256 to {actual}"
        )
    actual = hashlib.sha256(weights).hexdigest()
    if config.get("weights_sha256") != actual:
        raise LineaError(
            f"got numbers and a config.json of {source!r} of which one is damaged or of another save: the two files do "
            "not belong together; save or download both again, or, if you changed the numbers, set weights_sha256 in "
            f"config.json to {actual}"
        )


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of what a config says beside the two digests, whatever its layout."""
    said = {key: value for key, value in config.items() if key not in ("config_sha256", "weights_sha256")}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("the same key twice")
    return dict(pairs)
