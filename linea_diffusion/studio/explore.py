"""`explore`: turn styles by hand in a notebook; a labelled grid where there are no widgets."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..errors import LineaError
from ..grids import StyleGrid
from .scenes import Pictures, Scene

if TYPE_CHECKING:
    from ..pipelines.pipeline import LinEASDiffusionPipeline

_STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_SHOWN = 320
"""Side in pixels to which small pictures are enlarged."""


def explore(
    pipe: LinEASDiffusionPipeline,
    prompt: str,
    *,
    seed: int = 0,
    static: bool | None = None,
    strengths: Sequence[float] = _STRENGTHS,
    calibrated: bool | None = None,
    **arguments: Any,
) -> Any:
    """Two dials, a seed and a prompt, for the last line of a notebook's cell.

    With ipywidgets: a choice of style and its strength, twice, seed, prompt and the picture, rendered anew as they
    change (settings that were seen before are shown at once). Without: a picture of a grid, of the style's strengths
    from four seeds, or, with several styles, of the first two against each other.

    Args:
        pipe: with at least one adapter loaded.
        prompt: to begin with.
        seed: to begin with.
        static: True for the grid, False for the widgets; by whether ipywidgets is there when left out.
        strengths: of the grid's rows and columns; the sliders run from the least to the greatest.
        calibrated: how strengths are read, as for a call of the pipeline.
        **arguments: of the base pipeline, such as ``num_inference_steps``.

    Returns:
        A widget or a `PIL.Image.Image`; notebooks show either.

    Raises:
        LineaError: no adapter loaded, fewer than two strengths, static=False without ipywidgets, or ``calibrated=True``
            with maps that never were.
    """
    if not pipe.steering:
        raise LineaError("got a pipeline without steering to explore: call load_steering first")
    if len(set(strengths)) < 2:
        raise LineaError(f"got strengths {list(strengths)} to explore: expected at least two different ones")
    widgets = None if static else _widgets()
    if widgets is None and static is False:
        raise LineaError("got static=False without ipywidgets: expected `pip install ipywidgets`, or leave it out")
    arguments["calibrated"] = calibrated
    if widgets is None:
        return _grid(pipe, prompt, seed, strengths, arguments).image(cell_size=128)
    return _panel(widgets, pipe, prompt, seed, strengths, arguments)


def _widgets() -> Any:
    try:
        return importlib.import_module("ipywidgets")
    except ImportError:
        return None


def _grid(
    pipe: LinEASDiffusionPipeline, prompt: str, seed: int, strengths: Sequence[float], arguments: dict[str, Any]
) -> StyleGrid:
    names = list(pipe.steering)
    if len(names) == 1:
        seeds = range(seed, seed + 4)
        return StyleGrid.render_seeds(pipe, prompt, strengths, seeds=seeds, style=names[0], **arguments)
    return StyleGrid.render_dials(pipe, prompt, strengths, adapters=(names[0], names[1]), seed=seed, **arguments)


def _panel(
    widgets: Any,
    pipe: LinEASDiffusionPipeline,
    prompt: str,
    seed: int,
    strengths: Sequence[float],
    arguments: dict[str, Any],
) -> Any:
    """The widgets, wired: whatever changes, the picture is rendered from what they show."""
    names = list(pipe.steering)
    dials = [
        (
            widgets.Dropdown(options=names, value=name, description=label),
            widgets.FloatSlider(
                value=value, min=min(strengths), max=max(strengths), step=0.05, description="strength",
                continuous_update=False,
            ),
        )
        for label, name, value in (("style", names[0], max(strengths)), ("and style", names[-1], 0.0))[: len(names)]
    ]  # fmt: skip
    words = widgets.Text(value=prompt, description="prompt", continuous_update=False)
    number = widgets.BoundedIntText(value=seed, min=0, max=2**31 - 1, description="seed")
    picture = widgets.Image(format="png")
    pictures = Pictures(pipe, batch_size=1, **arguments)

    def show(_: Any = None) -> None:
        # Both dials may be set to one style: then they add up.
        turned = {name: sum(slider.value for choice, slider in dials if choice.value == name) for name in names}
        picture.value = _png(pictures.of([Scene(words.value, number.value).at(turned)])[0])

    for widget in (words, number, *(part for dial in dials for part in dial)):
        widget.observe(show, names="value")
    show()
    return widgets.HBox([widgets.VBox([words, number, *(part for dial in dials for part in dial)]), picture])


def _png(image: Image.Image) -> bytes:
    """A picture as a PNG file; small ones are enlarged without smoothing."""
    factor = _SHOWN // max(image.size)
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
