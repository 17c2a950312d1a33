"""Styles that come with embedded models: reached by their name, as a folder or a Hub id is."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import LineaError, nearest_hint
from ..maps.steering_maps import SteeringMaps
from ..shapeland import learned_styles


def load_maps(source: str | Path, model: str) -> SteeringMaps:
    """The maps of a folder or a Hub id; or those that come with a model, if no folder is called so.

    Args:
        source: a folder, a Hub id, or the name of a packaged style.
        model: the name of the model that they steer.

    Raises:
        LineaError: none of these, or maps that cannot be read.
    """
    name, styles = str(source), learned_styles(model)
    if os.path.exists(name):  # unlike Path.exists, also for names that no file can have
        return SteeringMaps.from_pretrained(source)
    try:
        return SteeringMaps.from_pretrained(styles.get(name.replace("-", " "), source))
    except LineaError as error:
        if not (hint := nearest_hint(name, styles)):
            raise
        raise LineaError(f"{error}; or a style that comes with {model}: {', '.join(styles)}{hint}") from None
