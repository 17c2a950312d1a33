"""The one error that a user can cause and mend."""

from __future__ import annotations

from typing import Any


class LineaError(ValueError):
    """Bad input: one line that says what was got, what was expected and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class TrainingDivergedError(LineaError):
    """Training met a number that is not finite.

    Attributes:
        maps: the last good `SteeringMaps`: those of the last iteration whose loss was finite.
    """

    def __init__(self, message: str, maps: Any) -> None:
        super().__init__(message)
        self.maps = maps
