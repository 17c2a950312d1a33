"""The steering that jobs name: what the pipeline has loaded, and what is loaded when a job asks for it."""

from __future__ import annotations

from collections.abc import Sequence
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


class SteeringSets:
    """Name -> steering maps, loaded once, on the pipeline's device.

    Args:
        pipe: its loaded adapters are known by their names, and those that are folders also by the folder's own name.

    Raises:
        LineaError: the pipeline's steering is fused into its weights, or has a strength for each of several prompts.
    """

    def __init__(self, pipe: LinEASDiffusionPipeline) -> None:
        pipe.steering.refuse_fusion("a batch")
        self._pipe = pipe
        self._loaded: dict[str, SteeringMaps] = {}
        self._digests: dict[str, str] = {}
        self._refused: dict[str, LineaError] = {}
        for name, maps in pipe.steering.items():
            self._add(name, maps)
        self.default = _single(pipe.get_active_steering()) if pipe.steering else {}
        """What acts in a job that names no steering and no strength, as in a call without strength."""

    def __getitem__(self, name: str) -> SteeringMaps:
        return self._loaded[name]

    def digest(self, name: str) -> str:
        """Digest of loaded maps."""
        return self._digests[name]

    def find(self, name: str) -> str:
        """The name under which maps are loaded, loading them if need be.

        Args:
            name: of an adapter, or the last part of it where that is enough; a folder of maps; a Hub id.

        Raises:
            LineaError: there are no such maps, or they are of another model.
        """
        if name in self._loaded:
            return name
        sources = self._pipe.steering.sources
        close = [one for one in self._loaded if name in (sources.get(one), Path(sources.get(one, one)).name)]
        if len(close) == 1:
            return close[0]
        if len(close) > 1:
            raise LineaError(f"got steering {name!r}, which {' and '.join(close)} both are: expected one of them")
        if name in self._refused:
            raise LineaError(str(self._refused[name]))
        try:
            maps = load_maps(name, model_name(self._pipe.base))
            maps.modules_in(self._pipe.base)
        except LineaError as error:
            self._refused[name] = error
            raise
        self._add(name, maps.to(self._pipe.base.device))
        return name

    def dial(self, name: str, calibrated: bool | None) -> Calibration:
        """How strengths of maps are read, see `SteeringMaps.dial`.

        Raises:
            LineaError: maps that never were calibrated, and should be.
        """
        return self[name].dial(calibrated)

    def position(self, name: str, strength: float, calibrated: bool | None) -> float:
        """Where maps stand at a strength.

        Raises:
            LineaError: as `dial`.
        """
        dial = self.dial(name, calibrated)
        return strength if dial.curve is None else float(dial.positions(torch.tensor(strength, dtype=torch.float32)))

    def _add(self, name: str, maps: SteeringMaps) -> None:
        self._loaded[name] = maps
        self._digests[name] = maps_digest(maps)


def _single(active: dict[str, float | list[float]]) -> dict[str, float]:
    for name, strength in active.items():
        if isinstance(strength, Sequence):
            raise LineaError(f"got a strength for each of several prompts set for {name!r}: expected one number")
    return {name: float(f"{strength:.7g}") for name, strength in active.items()}  # as written, not as float32 has it
