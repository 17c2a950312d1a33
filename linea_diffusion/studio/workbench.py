"""`SharedModel`, which all windows of the page have together, and `Workbench`, which each has alone."""

from __future__ import annotations

import copy
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.utils import logging
from PIL import Image

from ..errors import LineaError
from ..grids.kinds import plan_prompts
from ..grids.plan_rendering import grid_facts
from ..grids.plans import Cell, texts_of
from ..grids.style_grid import StyleGrid
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..maps.storage import CONFIG
from ..pipelines.pipeline import LinEASDiffusionPipeline
from ..scoring.figures import Figure, figure_of
from ..shapeland import learned_styles
from ..steering.addresses import model_name
from .scenes import Pictures, Scene, row_of
from .turns import Halt, Turns

if TYPE_CHECKING:
    from ..scoring.clip_scorer import ClipScorer

POSITIONS = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""Of a dial's row, which is made in one call."""
STYLES = "styles"
"""Where a page keeps the styles that are learned on it, below its folder."""
QUICK = 1.5
"""Seconds for a picture up to which rows are made without being asked for."""


@dataclass
class SharedModel:
    """One model, whoever uses it.

    Attributes:
        pipe: with the styles that every window begins with.
        folder: the only place where the page writes what is kept.
        arguments: of the pipeline's calls.
        scorer: makes the CLIP that scores pictures, when it is first needed; None without one.
        is_private: whether only its owner can reach the page, so that it may use the owner's account on the Hub.
        turns: who may run the models.
    """

    pipe: Any
    folder: Path
    arguments: Mapping[str, Any] = field(default_factory=dict)
    scorer: Any = None
    is_private: bool = True
    turns: Turns = field(default_factory=Turns)

    @property
    def name(self) -> str:
        """Of the model."""
        return model_name(self.pipe.base) or type(self.pipe.base).__name__

    @cached_property
    def clip(self) -> ClipScorer:
        """What scores.

        Raises:
            LineaError: no CLIP that knows such pictures.
        """
        if self.scorer is None:
            raise LineaError("got no CLIP to score with: expected linea studio --clip, such as ViT-L-14-quickgelu")
        made: ClipScorer = self.scorer()
        return made

    def own_pipe(self) -> Any:
        """A wrapper over the same models with its own styles, scheduler and tokenizers, for one thread at a time."""
        with self.turns.turn():
            parts = self.pipe.components.items()
            own = {name: copy.deepcopy(part) for name, part in parts if not isinstance(part, torch.nn.Module)}
            before = logging.get_verbosity()
            logging.set_verbosity_error()  # nothing is cast that it could warn of
            try:
                made = LinEASDiffusionPipeline.from_pipe(self.pipe, **own)
            finally:
                logging.set_verbosity(before)
        made.set_progress_bar_config(disable=True)
        return made


class Workbench:
    """What one window has: its styles, how they are turned, and what was made of them.

    Args:
        model: the shared one.

    Attributes:
        pipe: a wrapper of its own.
        pictures: that were made.
        scene: what is looked at.
        turning: the style whose dial was turned last.
        resting: styles that are switched off, with the strengths that they will have again.
        halt: stops the pictures that are being made.
        folder: for files on their way to the user; gone with the window.
        learning: the training that goes on, if one does.
        study: the blind comparison that goes on, if one does.
        grid: the last one.
        seconds: that a picture takes, measured.
    """

    def __init__(self, model: SharedModel) -> None:
        self.model, self.pipe, self.halt = model, model.own_pipe(), Halt()
        self.pictures = Pictures(self.pipe, **model.arguments)
        self.scene = Scene(self.first_prompt, dials=tuple((name, 0.0) for name in self.pipe.steering))
        if self.styles:
            self.scene = self.scene.turned(**{self.styles[0]: 0.75})
        self.turning = self.styles[0] if self.styles else ""
        self.resting: dict[str, float] = {}
        self.learning: Any = None
        self.study: Any = None
        self.grid: StyleGrid | None = None
        self.seconds = 0.0
        self._folder = tempfile.TemporaryDirectory(prefix="linea-studio-")
        self.folder = Path(self._folder.name)

    @property
    def styles(self) -> list[str]:
        """Names of the styles, in the order of loading."""
        return list(self.pipe.steering)

    @property
    def first_prompt(self) -> str:
        """What is drawn before anybody has said what."""
        prompts = [p for maps in self.pipe.steering.values() for p in Facts.of(maps.metadata).source_prompts or []]
        return "a red heart" if self.model.name.startswith("shapeland") else next(iter(prompts), "a red apple")

    def is_calibrated(self, style: str) -> bool:
        """Whether equal steps of a style's dial are equal steps of what is seen."""
        return Facts.of(self.pipe.steering[style].metadata).calibration is not None

    def add(self, maps: SteeringMaps, name: str | None = None, source: str | None = None) -> str:
        """Another style, under its own name, or with a number behind it where that is taken.

        Raises:
            LineaError: maps of another model.
        """
        wanted = name or Facts.of(maps.metadata).concept or "style"
        free = next(one for one in _numbered(wanted) if one not in self.pipe.steering)
        self.pipe.load_steering(maps, free)
        if source is not None:
            self.pipe.steering.sources[free] = source
        self.scene = self.scene.turned(**{free: 0.0})
        return free

    def remove(self, style: str) -> None:
        """A style goes from the window; its files stay."""
        self.pipe.steering.check_names([style])
        self.pipe.unload_steering(style)
        self.pictures.forget(style)
        self.resting.pop(style, None)
        if self.turning == style:
            self.turning = self.styles[0] if self.styles else ""
        self.scene = self.scene.at({name: value for name, value in self.scene.strengths.items() if name != style})

    def render(self, scenes: Sequence[Scene]) -> list[Image.Image]:
        """The pictures of scenes.

        Raises:
            LineaError: as `Pictures.of`; somebody stopped them.
        """
        if self.has(scenes):
            return self.pictures.of(scenes)
        with self.model.turns.turn(), self.halt.halts(self.pipe):
            began = time.monotonic()
            made = self.pictures.of(scenes)
            self.seconds = (time.monotonic() - began) / len(scenes)
        return made

    def has(self, scenes: Sequence[Scene]) -> bool:
        """Whether all pictures are there."""
        return all(map(self.pictures.has, scenes))

    @property
    def pictured(self) -> bool:
        """Whether anything was made yet."""
        return self.seconds > 0

    def row(self, style: str) -> list[Scene]:
        """What the dial of a style passes through while all others stay."""
        return row_of(self.scene, style, POSITIONS)

    @property
    def is_quick(self) -> bool:
        """Whether a row is there before anybody minds."""
        return self.seconds <= QUICK

    def as_grid(self, scenes: Sequence[Scene], style: str = "") -> StyleGrid:
        """Pictures that were made, as a grid of one row, which scores them and says what they were made from.

        Args:
            scenes: of one prompt and seed, one style turned in them.
            style: which; what the pictures are scored for.
        """
        first, how = scenes[0], {name: value for name, value in scenes[-1].how.items() if name != "mask"}
        dials = [{**dict.fromkeys(self.styles, 0.0), **scene.strengths} for scene in scenes]
        plan = plan_prompts(self.pipe, [first.prompt], dials or [0.0], seeds=[first.seed], style=style)
        cells = [
            Cell(scene.prompt, dial.get(style, 0.0), scene.seed, picture, dial, style)
            for scene, dial, picture in zip(scenes, dials, self.pictures.of(scenes), strict=True)
        ]
        facts = grid_facts(self.pipe, plan, {**self.model.arguments, **how})
        texts = {style: pair} if style and (pair := texts_of(self.pipe.steering[style])) else {}
        return StyleGrid([cells], style=style, facts=facts, texts=texts)

    def scores(self, style: str) -> list[tuple[Figure, float]]:
        """What CLIP says of the picture that is looked at, for one style.

        Raises:
            LineaError: no CLIP, a style that does not say what to score, or words that the CLIP cannot read.
        """
        grid = self.as_grid([self.scene.unsteered, self.scene], style).score(self.model.clip)
        scores = grid.rows[0][1].scores
        return [(figure, scores[name]) for name in scores if (figure := figure_of(name)) is not None]

    def close(self) -> None:
        """The window is gone: what goes on for it ends, and a training keeps what it has learned."""
        self.halt.ask()
        if self.learning is not None:
            self.learning.stop()
        self._folder.cleanup()


def load_known_styles(pipe: Any, model: str, folder: Path) -> None:
    """Load the styles that are packaged for a model, and those that a page kept in its folder.

    Args:
        pipe: a `LinEASDiffusionPipeline`.
        model: its name.
        folder: of the page.
    """
    for name, place in learned_styles(model).items():
        pipe.load_steering(place, name)
    for place in sorted((folder / STYLES).glob(f"*/{CONFIG}")):
        maps = SteeringMaps.from_pretrained(place.parent)
        if Facts.of(maps.metadata).base_model == model:
            wanted = Facts.of(maps.metadata).concept or place.parent.name
            name = next(one for one in _numbered(wanted) if one not in pipe.steering)
            pipe.load_steering(maps, name)
            pipe.steering.sources[name] = str(place.parent)


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name} {number}" for number in range(2, 10_000))


def folder_name(name: str) -> str:
    """A name as that of a folder: small letters, digits and hyphens, and nothing that leads elsewhere.

    Raises:
        LineaError: nothing is left of it.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
    if not slug:
        raise LineaError(f"got the name {name!r}: expected some letters or digits of the Latin alphabet")
    return slug
