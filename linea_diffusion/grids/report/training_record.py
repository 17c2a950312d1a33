"""What a training leaves beside its maps: the loss of every iteration as a table and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import LineaError, make_folder
from ...maps.facts import Facts
from ...scoring.tables import write_table
from .figure_style import Plot
from .plots import Curve, curves_plot

if TYPE_CHECKING:
    from ...maps.steering_maps import SteeringMaps

LOSSES = "losses.csv"


def losses_plot(maps: SteeringMaps, *, title: str = "", size: tuple[float, float] = (6.4, 3.2)) -> Plot:
    """The loss against the iteration, a line for each strength at which the maps were trained.

    Args:
        maps: with losses in their metadata, as training leaves them.
        title: such as the concept's name; the maps' own when left out.
        size: inches.

    Raises:
        LineaError: maps without losses.
    """
    rows = _losses(maps)
    curves = []
    for strength in sorted({row["strength"] for row in rows}, reverse=True):
        points = [(row["iteration"], row["loss"]) for row in rows if row["strength"] == strength]
        iterations, losses = zip(*points, strict=True)
        curves.append(Curve(f"strength {strength:g}", iterations, np.array([losses])))
    name = title or Facts.of(maps.metadata).concept or "maps"
    return curves_plot(curves, figure="loss", title=f"Training: {name}", along="iteration", size=size)


def save_losses(maps: SteeringMaps, folder: str | Path) -> None:
    """Write ``losses.csv`` (iteration, strength, loss) and their plot, ``losses.svg``, into the folder of maps.

    Args:
        maps: with losses in their metadata, as training leaves them.
        folder: made when missing.

    Raises:
        LineaError: maps without losses, or a folder that cannot be written.
    """
    rows, folder = _losses(maps), Path(folder)
    make_folder(folder)
    write_table(rows, folder / LOSSES)
    losses_plot(maps).save((folder / LOSSES).with_suffix(".svg"))


def _losses(maps: SteeringMaps) -> Sequence[Mapping[str, Any]]:
    facts = Facts.of(maps.metadata)
    if not facts.losses:
        raise LineaError("got maps without losses: expected maps as train_steering_maps leaves them")
    strengths = (facts.training or {}).get("strengths") or [1.0]
    return [
        {"iteration": number, "strength": float(strengths[number % len(strengths)]), "loss": loss}
        for number, loss in enumerate(facts.losses)
    ]
