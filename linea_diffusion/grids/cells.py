"""`Cell`: one picture of a grid with all that it was made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ..images import open_images


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
        scores: name -> figure, as in `linea_diffusion.scores.SCORES`; empty until scored.
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
