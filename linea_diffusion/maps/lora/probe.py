"""Short calls of a pipeline that tell what layers make, and what a file does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from .changes import LayerChange, added

if TYPE_CHECKING:
    from ..steering_maps import SteeringMaps


class Probe:
    """Calls of a pipeline that tell what a file does: few steps, one noise, latents."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = getattr(pipe, "base", pipe)
        self._arguments: dict[str, Any] = {
            "prompt": "a picture", **getattr(pipe, "default_arguments", {}), "output_type": "latent",
        }  # fmt: skip
        self._arguments["num_inference_steps"] = 1

    def run(self, steps: int = 1) -> torch.Tensor:
        """Latents, float32 on the CPU."""
        generator = torch.Generator("cpu").manual_seed(0)
        with torch.no_grad():
            made = self._pipe(**{**self._arguments, "num_inference_steps": steps}, generator=generator).images
        return torch.as_tensor(made).float().cpu()

    def loss(self, maps: SteeringMaps, carried: Sequence[LayerChange]) -> float:
        """Share of the change of latents at strength 1 that changed layers do not make."""
        plain = self.run(4)
        with maps.apply(self._pipe, 1.0, calibrated=False):
            steered = self.run(4)
        with added(self._pipe, carried):
            changed = self.run(4)
        whole = float((steered - plain).norm())
        return float((changed - steered).norm()) / whole if whole else 0.0
