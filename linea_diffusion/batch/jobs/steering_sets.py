"""The steering that jobs name: what the pipeline has loaded, and what is loaded when a job asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...errors import LineaError
from ...maps.digests import maps_digest
from ...maps.steering_maps import SteeringMaps
from ...pipelines.packaged import load_maps
from ...steering.addresses import model_name
from ...steering.dial import Calibration

if TYPE_CHECKING:
    from ...pipelines.pipeline import LinEASDiffusionPipeline


class SteeringSets(dict[str, SteeringMaps]):
    """Name -> steering maps, loaded once, on the pipeline's device.

    Args:
        pipe: its loaded adapters are known by their names, and those that are folders also by the folder's own name.

    Attributes:
        default: what acts in a job that names no steering and no strength, as in a call without strength.

    Raises:
        LineaError: the pipeline's steering is fused into its weights, or has a strength for each of several prompts.
    """

    def __init__(self, pipe: LinEASDiffusionPipeline) -> None:
        pipe.steering.refuse_fusion("a batch")
        super().__init__(pipe.steering)
        self._pipe, self._found = pipe, dict[str, str | LineaError]()
        self._digests, self._dials = dict[str, str](), dict[tuple[str, bool | None], Calibration]()
        self.default = _single(pipe.get_active_steering()) if pipe.steering else {}

    def digest(self, name: str) -> str:
        """Digest of loaded maps."""
        if name not in self._digests:
            self._digests[name] = maps_digest(self[name])
        return self._digests[name]

    def dial(self, name: str, calibrated: bool | None) -> Calibration:
        """How strengths of maps are read, see `SteeringMaps.dial`, whose errors it has."""
        if (name, calibrated) not in self._dials:
            self._dials[name, calibrated] = self[name].dial(calibrated)
        return self._dials[name, calibrated]

    def position(self, name: str, strength: float, calibrated: bool | None) -> float:
        """Where maps stand at a strength."""
        curve = self.dial(name, calibrated).curve
        return strength if curve is None else _position(tuple(curve["strengths"]), tuple(curve["values"]), strength)

    def find(self, name: str) -> str:
        """The name under which maps are loaded, loading them if need be.

        Args:
            name: of an adapter, or the last part of it where that is enough; a folder of maps; a Hub id.

        Raises:
            LineaError: there are no such maps, or they are of another model.
        """
        if name not in self._found:
            try:
                self._found[name] = name if name in self else self._look_for(name)
            except LineaError as error:
                self._found[name] = error
        found = self._found[name]
        if isinstance(found, LineaError):
            raise LineaError(str(found))
        return found

    def _look_for(self, name: str) -> str:
        sources = self._pipe.steering.sources
        close = [one for one in self if name in (sources.get(one), Path(sources.get(one, one)).name)]
        if len(close) > 1:
            raise LineaError(f"got steering {name!r}, which {' and '.join(close)} both are: expected one of them")
        if close:
            return close[0]
        maps = load_maps(name, model_name(self._pipe.base))
        maps.modules_in(self._pipe.base)
        self[name] = maps.to(self._pipe.base.device)
        return name


@lru_cache(maxsize=4096)
def _position(knots: tuple[float, ...], values: tuple[float, ...], strength: float) -> float:
    dial = Calibration({"strengths": knots, "values": values})
    return float(dial.positions(torch.tensor(strength, dtype=torch.float32)))


def _single(active: dict[str, float | list[float]]) -> dict[str, float]:
    for name, strength in active.items():
        if isinstance(strength, Sequence):
            raise LineaError(f"got a strength for each of several prompts set for {name!r}: expected one number")
    return {name: float(f"{strength:.7g}") for name, strength in active.items()}  # as written, not as float32 has it
