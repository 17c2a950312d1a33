"""Styles that come with embedded models: reached by their name, as a folder or a Hub id is."""

from __future__ import annotations

from pathlib import Path

from ..errors import LineaError, nearest_hint, short
from ..shapeland import learned_styles


def place_of(source: str | Path, model: str) -> str | Path:
    """Where maps are: the packaged ones, if a model has a style of that name and no folder is called so.

    Args:
        source: a folder, a Hub id, or the name of a packaged style.
        model: the name of the model that they steer.

    Raises:
        LineaError: a name alone that an embedded model has no style of.
    """
    name, styles = str(source), learned_styles(model)
    if "/" in name or not styles or Path(name).exists():
        return source
    if name.replace("-", " ") not in styles:
        raise LineaError(
            f"got steering {short(name)}: expected a folder, a Hub id, or a style that comes with {model}: "
            f"{', '.join(styles)}{nearest_hint(name, styles)}"
        )
    return styles[name.replace("-", " ")]
