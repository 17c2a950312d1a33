"""Plans of grids: which prompt, seed and strengths every picture has; `Cell`, a picture with all it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..concepts.concept import StyleTexts
from ..errors import check_seed
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..scoring.images.opening import open_images


@dataclass
class Cell:
    """One picture of a grid.

    Attributes:
        prompt: what it is a picture of.
        strength: the position on the row's dial; where rows turn a dial of their own, that on the columns'.
        seed: of its noise.
        picture: the image, or the file that it is in.
        strengths: adapter -> strength, of all adapters that the grid knows.
        style: what the row steers to.
        method: how, where rows are methods.
        asked: what the pipeline was given instead of the prompt, where the style was asked for in words.
        scores: name -> figure, as in `linea_diffusion.scoring.figures.SCORES`; empty until scored.
    """

    prompt: str
    strength: float
    seed: int
    picture: Image.Image | Path
    strengths: dict[str, float] = field(default_factory=dict)
    style: str = ""
    method: str = ""
    asked: str | None = None
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def image(self) -> Image.Image:
        """The picture at full size; read from its file each time if it is in one.

        Raises:
            LineaError: the file is gone.
        """
        return open_images([self.picture])[0] if isinstance(self.picture, Path) else self.picture

    @property
    def is_unsteered(self) -> bool:
        """Whether the base model made it from the prompt alone."""
        return self.asked is None and self.strength == 0 and not any(self.strengths.values())


@dataclass(frozen=True)
class PlanRow:
    """A row before it is rendered: one prompt, one noise, and per column the strength of every adapter.

    Attributes:
        label: beside the row.
        prompt: what the pictures show.
        seed: of the noise.
        strengths: the position of the dial, per column.
        dials: adapter -> strength, per column.
        style: what the row steers to.
        method: how, where rows are methods.
        asked: per column what the pipeline is given instead of the prompt, or None.
    """

    label: str
    prompt: str
    seed: int
    strengths: tuple[float, ...]
    dials: tuple[Mapping[str, float], ...]
    style: str = ""
    method: str = ""
    asked: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A grid before it is rendered.

    Attributes:
        rows: equally long.
        columns: labels.
        kind: what rows and columns are, such as ``prompts x strengths``.
        title: above the grid.
        style: what the grid is about, for titles and tables.
        maps: adapters that are loaded for the grid and unloaded after it; those of the pipeline act as well.
        texts: style -> what its pictures are scored against, where the maps say it.
    """

    rows: tuple[PlanRow, ...]
    columns: tuple[str, ...]
    kind: str
    title: str
    style: str
    maps: Mapping[str, SteeringMaps] = field(default_factory=dict)
    texts: Mapping[str, StyleTexts] = field(default_factory=dict)


def make_plan(
    pipe: Any,
    rows: Sequence[PlanRow],
    kind: str,
    title: str,
    style: str,
    *,
    labels: tuple[str, ...] | None = None,
    maps: Mapping[str, SteeringMaps] | None = None,
) -> Plan:
    """A plan with what the maps know of its styles; columns are labelled by strength unless told otherwise."""
    rows = [replace(row, seed=check_seed(row.seed)) for row in rows]
    all_maps = {**pipe.steering, **(maps or {})}
    texts: dict[str, StyleTexts] = {}
    for row in rows:
        active = [
            name for name in dict.fromkeys(n for dial in row.dials for n, v in dial.items() if v) if name in all_maps
        ]
        pair = next((texts_of(all_maps[name]) for name in [row.style, *active] if name in all_maps), None)
        if pair is not None:
            texts.setdefault(row.style, pair)
    columns = labels or tuple(f"{value:.3g}" for value in rows[0].strengths)
    return Plan(tuple(rows), columns, kind, title, style, maps or {}, texts)


def texts_of(maps: SteeringMaps) -> StyleTexts | None:
    """What pictures of a set of maps are scored against, if the maps say it."""
    facts = Facts.of(maps.metadata)
    return None if facts.concept is None or facts.pair is None else StyleTexts(facts.concept, *facts.pair)
