"""What is asked of a call: at which strengths maps act, how the dial that shows them is read, and how they act.

Maps know one number, the share of the way that activations go. A calibration is a curve of what is seen of it: at
``strengths[i]`` the share ``values[i]``. A calibrated dial reads the curve backwards, so that equal steps of the dial
are equal steps of what is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from ..errors import LineaError, as_number, short

if TYPE_CHECKING:
    from .curves import StrengthCurve
    from .region import Region

Strength = float | torch.Tensor
Composition = Literal["sum", "chain"]
COMPOSITIONS = ("sum", "chain")
SteeringGuidance = Literal["both", "cond"]
STEERING_GUIDANCE = ("both", "cond")


@dataclass(frozen=True)
class Dial:
    """How maps act in a call.

    Attributes:
        composition: how several maps of one activation act together. ``"sum"``: each moves the unsteered activation
            and the moves add up, z + sum_i s_i*((w_i-1)*z + b_i), so that the order does not matter. ``"chain"``: one
            after the other in the order given; affine maps do not commute.
        guidance: ``"both"`` steers what classifier-free guidance runs with and without the prompt, ``"cond"`` only what
            it runs with the prompt.
        start: share of the denoising schedule, [0, 1), that is done when steering of denoisers begins. Text encoders
            run before the first step and are steered if it is 0.
        end: share that is done when it ends, (0, 1].
        calibrated: how strengths are read: on the curve that maps carry where they do (None), on the curve (True), or
            as the share of the way in activations (False).
        curve: what they are multiplied with, by the share of the schedule that is done; None for nothing.
        region: the part of the picture that they act in; None for all of it.

    Raises:
        LineaError: something else.
    """

    composition: Composition = "sum"
    guidance: SteeringGuidance = "both"
    start: float = 0.0
    end: float = 1.0
    calibrated: bool | None = None
    curve: StrengthCurve | None = None
    region: Region | None = None

    def __post_init__(self) -> None:
        _check_choice("composition", self.composition, COMPOSITIONS)
        _check_choice("steering_guidance", self.guidance, STEERING_GUIDANCE)
        _check_calibrated(self.calibrated)
        start, end = as_number(self.start), as_number(self.end)
        if start is None or end is None or not 0 <= start < end <= 1:
            raise LineaError(
                f"got steering_start={short(self.start)} and steering_end={short(self.end)}: expected 0 <= start < end "
                "<= 1, shares of the denoising schedule from 0 to 1, the start before the end"
            )
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "end", end)

    @property
    def is_always_on(self) -> bool:
        """Whether steering acts throughout the schedule, and alike."""
        return self.start == 0 and self.end == 1 and self.curve is None

    def is_on(self, fraction: float) -> bool:
        """Whether denoisers are steered when `fraction` of the schedule, [0, 1), is done."""
        return self.start <= fraction + 1e-9 < self.end


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise LineaError(f"got {name} {value!r}: expected one of {', '.join(choices)}")


def _check_calibrated(calibrated: Any) -> None:
    """Whether that is a way to read strengths.

    Raises:
        LineaError: it is not True, False or None.
    """
    if calibrated is not None and not isinstance(calibrated, bool):
        raise LineaError(
            f"got calibrated={short(calibrated)}: expected True (on the calibrated dial), False (as a share of the way "
            "in activations) or None (calibrated where the maps are)"
        )


def check_strength(strength: Strength | Sequence[float]) -> torch.Tensor:
    """A strength as a float32 tensor, () or (n,).

    Numbers may be Python's, numpy's or tensors, in lists, arrays or tensors of one dimension.

    Raises:
        LineaError: not a number, not finite in float32, or an empty sequence.
    """
    plain = _listed(strength)
    numbers = [as_number(one) for one in (plain if isinstance(plain, Sequence) else [plain])]
    finite = [number for number in numbers if number is not None]
    values = torch.tensor(finite, dtype=torch.float64).float()
    if len(finite) < max(len(numbers), 1) or not bool(values.isfinite().all()):
        raise LineaError(
            f"got strength {short(strength)}: expected a finite number (0 is the base model, 1 the concept) or a list "
            "of such numbers"
        )
    return values if isinstance(plain, Sequence) else values[0]


def is_curve(strength: Any) -> bool:
    """Whether a strength is a curve over the schedule, or for some picture: see `read_curve`.

    A curve is a callable of the share of the schedule that is done, or points (share, strength), linear between them
    and level outside.
    """
    return callable(strength) or (
        isinstance(strength, list | tuple)
        and (is_points(strength) or any(callable(one) or is_points(one) for one in strength))
    )


def is_points(value: Any) -> bool:
    """Whether a value is a list of pairs of plain values, such as ``[(0, 0), (0.3, 1)]``."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_pair, value))


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and not any(isinstance(one, list | tuple) or callable(one) for one in value)
    )


def _listed(strength: Any) -> Any:
    """Arrays and tensors as Python's numbers in lists; texts are no lists of anything."""
    try:
        strength = strength.tolist() if hasattr(strength, "tolist") else strength
    except RuntimeError:  # a tensor without data
        return None
    return None if isinstance(strength, str | bytes) else strength


def check_positions(strengths: Sequence[float]) -> tuple[float, ...]:
    """The positions of a dial, one or more, as Python's numbers.

    Raises:
        LineaError: no list, or an entry that is no strength.
    """
    values = check_strength(strengths)
    if values.ndim != 1:
        raise LineaError(f"got strengths {short(strengths)}: expected a list of numbers, such as [0, 0.5, 1]")
    return tuple(float(one) for one in _listed(strengths))


PLAIN = "share of the way in activations"
"""What a strength is without a calibration."""


@dataclass(frozen=True)
class Calibration:
    """How the dial of a set of maps is read, in one of two ways.

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


def choose_calibration(curve: Mapping[str, Any] | None, calibrated: bool | None) -> Calibration:
    """The reading that a call asks for.

    Args:
        curve: that the maps carry, if they do.
        calibrated: None takes the curve if there is one, False leaves it, True demands it.

    Raises:
        LineaError: True without a curve, or neither of the three.
    """
    _check_calibrated(calibrated)
    if calibrated and curve is None:
        raise LineaError("got calibrated=True and maps without a calibration: call calibrate first, and save them")
    return Calibration(None if calibrated is False else curve)


def word_for(names: Sequence[str]) -> str:
    """What to call a strength in a caption, given the `Calibration.name` of every adapter that turns."""
    return "calibrated strength" if names and PLAIN not in names else "strength"


def _backwards(curve: Mapping[str, Any], strengths: torch.Tensor) -> torch.Tensor:
    knots, values = (torch.tensor(curve[key], dtype=torch.float64) for key in ("strengths", "values"))
    wanted = strengths.double().cpu()
    right = torch.searchsorted(values, wanted.contiguous()).clamp(1, len(values) - 1)  # the first that is no less
    left = right - 1
    width = values[right] - values[left]  # above 0 wherever 0 < wanted < 1
    inside = knots[left] + (wanted - values[left]) / width.clamp_min(1e-12) * (knots[right] - knots[left])
    return torch.where((wanted > 0) & (wanted < 1), inside, wanted).to(strengths)
