"""What a training has learned so far: one prompt at some strengths, in one file that is rewritten."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..errors import LineaError, as_whole, reason, short
from ..maps.steering_maps import SteeringMaps
from ..pipelines.calling import generators
from ..pipelines.modular import called
from ..pipelines.prompts import repeat_arguments
from ..scoring.images.cells import INK, PAPER, CellLayout, box_of, draw_cells, font_sizes, gap_of
from ..scoring.images.lettering import draw_line, line_height
from ..scoring.images.opening import check_image_name

_LARGEST = 512
"""Pixels of a picture's longer side in the file."""


@dataclass
class Preview:
    """Pictures of one prompt, rendered as training renders it, after the first iteration, every so many, and the last.

    They are rendered one by one, without gradients, from noise of their own: what is learned has the same bits. On the
    embedded models each takes .3 to .4 seconds of a core, with every twentieth iteration a thirtieth of a training.

    Attributes:
        path: the file, which is there whole at any time.
        every: iterations between two of them.
        prompt: what is drawn; the concept's first source prompt when left out.
        strengths: of the pictures, as a share of the way in activations.

    Raises:
        LineaError: no whole number above 0, or no name of a picture.
    """

    path: Path
    every: int = 20
    prompt: str | None = None
    strengths: Sequence[float] = (0.0, 0.5, 1.0)

    def __post_init__(self) -> None:
        self._failed = False
        self.path = Path(self.path)
        check_image_name(self.path)
        if (as_whole(self.every) or 0) < 1:
            raise LineaError(f"got a preview every {short(self.every)} iterations: expected a whole number above 0")

    def is_due(self, done: int, total: int) -> bool:
        """Whether there is one after so many iterations."""
        return not self._failed and (done in (1, total) or done % self.every == 0)

    def show(self, pipe: Any, maps: SteeringMaps, prompt: str, arguments: Mapping[str, Any], title: str) -> None:
        """Render and write; what goes wrong is told and ends the previews, not the training.

        Args:
            pipe: a diffusers pipeline.
            maps: as they are now.
            prompt: for a preview without one of its own.
            arguments: of the pipeline's calls.
            title: below the pictures.
        """
        try:
            pictures = pictures_of(pipe, maps, self.prompt or prompt, arguments, self.strengths)
            sheet = _sheet(pictures, [f"{one:g}" for one in self.strengths], f"{self.prompt or prompt}; {title}")
            whole = self.path.with_name(f".{self.path.name}.part")
            sheet.save(whole, format=Image.registered_extensions()[self.path.suffix.lower()])
            os.replace(whole, self.path)
        except (LineaError, OSError, RuntimeError, ValueError, TypeError) as error:
            self._failed = True
            warnings.warn(f"got no preview ({reason(error)}): expected a picture; training goes on", stacklevel=4)


def pictures_of(
    pipe: Any, maps: SteeringMaps, prompt: str, arguments: Mapping[str, Any], strengths: Sequence[float]
) -> list[Image.Image]:
    """A prompt's pictures from one noise, one by one, without gradients.

    Args:
        pipe: a diffusers pipeline.
        maps: also in training.
        prompt: of all of them.
        arguments: of the pipeline's calls, as training has them.
        strengths: one for each, as a share of the way in activations.
    """
    call = {name: value for name, value in arguments.items() if name != "output_type"}
    made = []
    for strength in strengths:
        with torch.no_grad(), np.errstate(invalid="ignore"), maps.apply(pipe, strength, calibrated=False):
            made += called(pipe, [prompt], generator=generators([0]), **repeat_arguments(call, 1, pipe)).images
    return made


def _sheet(pictures: Sequence[Image.Image], captions: Sequence[str], title: str) -> Image.Image:
    """Pictures side by side, each with its strength below, and a line of words."""
    size = max(192, min(_LARGEST, max(pictures[0].size)))
    cell, (text, small), gap = box_of(pictures[0], size), font_sizes(size), gap_of(size)
    layout = CellLayout(cell=cell, text=text, small=small, gap=gap, left=gap, top=gap, caption=line_height(small) + 2)
    width, height = layout.corner(1, len(pictures))
    sheet = Image.new("RGB", (width, height + line_height(small) + 2), PAPER)
    cells = [(one, [(words, INK)]) for one, words in zip(pictures, captions, strict=True)]
    draw_cells(sheet, cells, layout, len(pictures))
    draw_line(ImageDraw.Draw(sheet), (gap, height), title, size=small, fill=INK)
    return sheet
