"""How a strength is read: on the curve that calibration stored with maps, or as it is.

Maps know one number, the share of the way that activations go. A calibration is a curve of what is seen of it: at
``strengths[i]`` the share ``values[i]``. A calibrated dial reads the curve backwards, so that equal steps of the dial
are equal steps of what is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import LineaError, short

PLAIN = "share of the way in activations"
"""What a strength is without a calibration."""


@dataclass(frozen=True)
class Dial:
    """The dial of a set of maps, in one of its two readings.

    Attributes:
        curve: ``strengths`` and ``values``, both from 0 to 1, and ``measure``; None where strengths are what they say.
    """

    curve: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What a strength says, in words."""
        return PLAIN if self.curve is None else f"calibrated by {self.curve['measure']}"

    def positions(self, strengths: torch.Tensor) -> torch.Tensor:
        """The strengths at which maps act when the dial shows these, same shape.

        Linear between the knots of the curve; where it is level, the least strength that gives as much. 0 and 1 stay,
        as does what is below and above, where nothing was measured: if the curve rises only from 0.25 on, a dial just
        above 0 stands at 0.25.
        """
        return strengths if self.curve is None else _backwards(self.curve, strengths)


def choose_dial(curve: Mapping[str, Any] | None, calibrated: bool | None) -> Dial:
    """The dial that a call asks for.

    Args:
        curve: that the maps carry, if they do.
        calibrated: None takes the curve if there is one, False leaves it, True demands it.

    Raises:
        LineaError: True without a curve, or neither of the three.
    """
    check_calibrated(calibrated)
    if calibrated and curve is None:
        raise LineaError("got calibrated=True and maps without a calibration: call calibrate first, and save them")
    return Dial(None if calibrated is False else curve)


def check_calibrated(calibrated: Any) -> None:
    """Whether that is a way to read strengths.

    Raises:
        LineaError: it is not True, False or None.
    """
    if calibrated is not None and not isinstance(calibrated, bool):
        raise LineaError(
            f"got calibrated={short(calibrated)}: expected True (on the calibrated dial), False (as a share of the way "
            "in activations) or None (calibrated where the maps are)"
        )


def word_for(names: Sequence[str]) -> str:
    """What to call a strength in a caption, given the `Dial.name` of every adapter that turns."""
    return "calibrated strength" if names and PLAIN not in names else "strength"


def _backwards(curve: Mapping[str, Any], strengths: torch.Tensor) -> torch.Tensor:
    knots, values = (torch.tensor(curve[key], dtype=torch.float64) for key in ("strengths", "values"))
    wanted = strengths.double().cpu()
    right = torch.searchsorted(values, wanted.contiguous()).clamp(1, len(values) - 1)  # the first that is no less
    left = right - 1
    width = values[right] - values[left]  # above 0 wherever 0 < wanted < 1
    inside = knots[left] + (wanted - values[left]) / width.clamp_min(1e-12) * (knots[right] - knots[left])
    return torch.where((wanted > 0) & (wanted < 1), inside, wanted).to(strengths)
