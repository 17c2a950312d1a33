"""Strengths and seeds as people type them: ``0.7``, ``0,0.5,1``, ``0:1:5``, and by name ``neon=0.7,mosaic=0:1:5``."""

from __future__ import annotations

from ..errors import LineaError, short

_MOST = 10_000
"""Positions that ``first:last:count`` may ask for."""
_LARGEST = 3.4e38
"""What float32 can hold."""
STRENGTHS_FORM = "0.7, or 0,0.5,1, or FIRST:LAST:COUNT such as 0:1:5, or by style neon=0.7,mosaic=0.3 (also 0:1:5)"
"""What may be typed, for help."""
MASKINGS = ("pictures", "activations", "activations+text")
"""The ways to limit steering to a part of the picture, see `LinEASDiffusionPipeline.__call__`."""


def parse_strengths(text: str) -> list[float]:
    """Numbers with commas, or ``first:last:count``, equally spaced with both ends: ``0:1:5`` is 0, .25, .5, .75, 1.

    Raises:
        LineaError: neither, or a number that float32 cannot hold.
    """
    try:
        values = _spaced(*text.split(":")) if ":" in text else [float(part) for part in text.split(",")]
    except (TypeError, ValueError):
        values = []
    if not values or not all(abs(value) <= _LARGEST for value in values):
        raise LineaError(
            f"got strength {short(text)}: expected finite numbers such as 0.7 or 0,0.5,1, or FIRST:LAST:COUNT such as "
            "0:1:5"
        )
    return values


def parse_dials(text: str) -> list[float] | list[dict[str, float]]:
    """What `parse_strengths` reads, or for each position of several dials their strengths by name.

    ``neon=0.7,mosaic=0.3`` is one position; with ``neon=0:1:5,mosaic=0.3`` neon turns through five while mosaic stays.
    Names may hold anything but commas and equals signs.

    Raises:
        LineaError: neither; a name twice; names together with numbers that have none; turns of different counts.
    """
    if "=" not in text:
        return parse_strengths(text)
    dials: dict[str, list[float]] = {}
    for entry in text.split(","):
        name, equals, value = entry.partition("=")
        name = name.strip()
        if not (equals and name and value.strip()) or name in dials:
            raise LineaError(
                f"got strength {short(text)}: expected each style once, as NAME=NUMBER or NAME=FIRST:LAST:COUNT, with "
                "commas between them, such as neon=0.7,mosaic=0.3"
            )
        dials[name] = parse_strengths(value)
    count = max(map(len, dials.values()))
    if any(len(values) not in (1, count) for values in dials.values()):
        counts = " and ".join(str(len(values)) for values in dials.values())
        raise LineaError(f"got strength {short(text)}, whose styles have {counts} positions: expected one count")
    turned = {name: values * (count if len(values) == 1 else 1) for name, values in dials.items()}
    return [{name: values[i] for name, values in turned.items()} for i in range(count)]


def parse_curve(text: str) -> list[tuple[float, float]]:
    """Points of a curve over the schedule, ``0:0,0.3:1,1:0.5``: share that is done, and what strengths are times.

    Raises:
        LineaError: not of that form.
    """
    try:
        points = [(float(share), float(strength)) for share, strength in (one.split(":") for one in text.split(","))]
    except ValueError:
        raise LineaError(
            f"got strength curve {short(text)}: expected points SHARE:STRENGTH such as 0:0,0.3:1,1:0.5"
        ) from None
    from .curves import curve_of  # torch is not needed to say what may be typed

    curve_of(points)
    return points


def _spaced(first: str, last: str, count: str) -> list[float]:
    start, end, steps = float(first), float(last), int(count) - 1
    if not 1 <= steps < _MOST:
        raise ValueError
    return [round(start + (end - start) * i / steps, 12) for i in range(steps + 1)]


def parse_seeds(text: str) -> list[int]:
    """Whole numbers with commas, as ``0,1,2``.

    Raises:
        LineaError: something else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise LineaError(f"got seeds {short(text)}: expected whole numbers such as 0,1,2") from None
