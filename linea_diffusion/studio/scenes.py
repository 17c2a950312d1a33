"""`Scene`: a picture as somebody set it by hand; `Pictures` makes those that are asked for, and keeps them."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ..errors import LineaError, as_number, check_seed, short
from ..pipelines.rendering.render import images_of
from ..pipelines.rendering.requests import Request, requests_of

LARGEST = 10
"""A strength beyond this, either way, is a slip of the hand."""


@dataclass(frozen=True)
class Scene:
    """Which picture: all that a hand can turn.

    Attributes:
        prompt: what of.
        seed: of its noise.
        dials: style -> strength, in pairs; styles that are left out rest.
        window: shares of the denoising schedule where steering begins and ends.
        mask: the part of the picture that is steered, as a PNG file's bytes, white or black; None for all of it.

    Raises:
        LineaError: a strength or a seed that is none, or a window that is empty.
    """

    prompt: str
    seed: int = 0
    dials: tuple[tuple[str, float], ...] = ()
    window: tuple[float, float] = (0.0, 1.0)
    mask: bytes | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, value in self.dials:
            number = as_number(value)
            if number is None or abs(number) > LARGEST:
                raise LineaError(f"got strength {short(value)} of {name}: expected a number from -10 to 10")
        start, end = self.window
        if not 0 <= start < end <= 1:
            raise LineaError(f"got steering from {start} to {end} of the schedule: expected 0 <= start < end <= 1")

    @property
    def strengths(self) -> dict[str, float]:
        """Style -> strength."""
        return dict(self.dials)

    def turned(self, **changes: float) -> Scene:
        """The same with some styles at other strengths."""
        return self.at({**self.strengths, **changes})

    def at(self, strengths: Mapping[str, float]) -> Scene:
        """The same at these strengths alone."""
        return replace(self, dials=tuple(strengths.items()))

    @property
    def unsteered(self) -> Scene:
        """The base model's picture."""
        return Scene(self.prompt, self.seed)

    @property
    def how(self) -> dict[str, Any]:
        """Arguments of a call that say how steering acts, where they are not the usual ones."""
        told: dict[str, Any] = {}
        start, end = self.window
        if start:
            told["steering_start"] = start
        if end < 1:
            told["steering_end"] = end
        if self.mask is not None:
            told["mask"] = _mask(self.mask)
        return told

    @property
    def acts(self) -> bool:
        """Whether some style is turned away from 0."""
        return any(value for _, value in self.dials)


class Pictures:
    """The pictures of scenes on one pipeline: what was made before is there at once.

    Args:
        pipe: a `LinEASDiffusionPipeline`.
        most: how many are kept, those that were looked at last.
        batch_size: pictures at once.
        **arguments: of the pipeline's calls, for all scenes.
    """

    def __init__(self, pipe: Any, *, most: int = 512, batch_size: Any = "auto", **arguments: Any) -> None:
        self.pipe, self.arguments, self._most, self._size = pipe, arguments, most, batch_size
        self._made: OrderedDict[Scene, Image.Image] = OrderedDict()

    def has(self, scene: Scene) -> bool:
        """Whether the picture of a scene is there."""
        return _plain(scene) in self._made

    def of(self, scenes: Sequence[Scene]) -> list[Image.Image]:
        """The pictures of scenes; those that share all but prompt, seed and strengths are made in one call.

        Raises:
            LineaError: a style that is not loaded, an argument that the pipeline has no use for, no picture.
        """
        plain = [_plain(scene) for scene in scenes]
        missing = [scene for scene in dict.fromkeys(plain) if scene not in self._made]
        requests = [self.request(scene) for scene in missing]
        made = dict(zip(missing, images_of(self.pipe, requests, self._size), strict=True))
        pictures = [made[scene] if scene in made else self._made[scene] for scene in plain]
        for scene, picture in zip(plain, pictures, strict=True):
            self._made[scene] = picture
            self._made.move_to_end(scene)
        while len(self._made) > self._most:
            self._made.popitem(last=False)
        return pictures

    def request(self, scene: Scene) -> Request:
        """What is rendered; scenes at 0 go with the others of their row, and are the base model's pictures all the
        same."""
        self.pipe.steering.check_names(scene.strengths)
        turned = {**dict.fromkeys(self.pipe.steering, 0.0), **scene.strengths} or None
        ((request,),) = [list(requests_of(self.pipe, [(scene.prompt, scene.seed, turned)], self.arguments | scene.how))]
        return request

    def forget(self, style: str) -> None:
        """A style is another now, or gone."""
        for scene in [one for one in self._made if style in one.strengths]:
            del self._made[scene]


def row_of(scene: Scene, style: str, positions: Iterable[float]) -> list[Scene]:
    """The scene with one style at each of these positions."""
    return [scene.turned(**{style: position}) for position in positions]


def _plain(scene: Scene) -> Scene:
    """Scenes that are one picture are one scene: styles at 0 are left out, in one order; where none acts, all else
    of steering is."""
    dials = tuple(sorted((name, float(value)) for name, value in scene.dials if value))
    return replace(scene, dials=dials) if dials else scene.unsteered


_MASKS: OrderedDict[bytes, Image.Image] = OrderedDict()


def _mask(data: bytes) -> Image.Image:
    """One image for one mask, so that scenes with the same one share a call.

    Raises:
        LineaError: no picture.
    """
    if data not in _MASKS:
        try:
            _MASKS[data] = Image.open(io.BytesIO(data), formats=["PNG"]).convert("L")
        except (OSError, ValueError, Image.DecompressionBombError):
            raise LineaError("got a mask that is no PNG picture: expected one drawn on the page") from None
        while len(_MASKS) > 16:
            _MASKS.popitem(last=False)
    return _MASKS[data]
