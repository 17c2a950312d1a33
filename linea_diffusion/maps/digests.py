"""What a set of maps is, in a digest: of the file of its numbers, and of all that pictures depend on."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from .facts import Facts
from .packing import pack

if TYPE_CHECKING:
    from .steering_maps import SteeringMaps


def numbers_digest(maps: SteeringMaps) -> str:
    """SHA-256 of the file of numbers: ``weights_sha256`` in the ``config.json`` of the maps, ``maps`` in pictures."""
    return hashlib.sha256(pack(maps.numbers())).hexdigest()


def maps_digest(maps: SteeringMaps) -> str:
    """SHA-256 of every number, however it is packed, and of the calibration: ``steering_sha256`` of a batch's images.

    Other facts do not count, so that the same maps by another name make the same images.
    """
    sha = hashlib.sha256()
    for key, tensor in maps.numbers().items():
        name, _, part = key.rpartition(".")
        sha.update(f"{name} {part} {tuple(tensor.shape)}".encode())
        # files hold no -0.0
        sha.update((tensor.cpu().float().contiguous() + 0.0).numpy().tobytes())
    sha.update(json.dumps(Facts.of(maps.metadata).calibration, sort_keys=True).encode())
    return sha.hexdigest()
