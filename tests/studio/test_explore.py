"""Exploring a style by hand: widgets that turn pictures, and a grid where there are none."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from linea_diffusion import LineaError, StyleGrid, explore

from ..conftest import seeded

STEPS = {"num_inference_steps": 1}


@pytest.fixture
def steered(pipe, random_maps):
    pipe.load_steering(random_maps, "one")
    pipe.load_steering(-0.5 * random_maps, "two")
    return pipe


def _parts(panel):
    controls, picture = panel.children
    prompt, seed, *dials = controls.children
    return prompt, seed, dials, picture


def _shown(picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.value)))[::5, ::5].astype(int)


def _close(shown: np.ndarray, image: Image.Image) -> bool:
    return np.abs(shown - np.asarray(image, dtype=int)).max() <= 2


def test_every_widget_turns_the_picture(steered):
    prompt, seed, (style, strength, other, second), picture = _parts(explore(steered, "a red heart", seed=3, **STEPS))
    assert (style.options, other.value) == (("one", "two"), "two")

    def expected(words, number, **turned):
        return steered(words, strength=turned, generator=seeded(number), **STEPS).images[0]

    assert _close(_shown(picture), expected("a red heart", 3, one=1.0, two=0.0))
    strength.value = 0.5
    assert _close(_shown(picture), expected("a red heart", 3, one=0.5, two=0.0))
    second.value = 0.75
    assert _close(_shown(picture), expected("a red heart", 3, one=0.5, two=0.75))
    seed.value = 4
    assert _close(_shown(picture), expected("a red heart", 4, one=0.5, two=0.75))
    prompt.value = "a blue fish"
    assert _close(_shown(picture), expected("a blue fish", 4, one=0.5, two=0.75))
    style.value = "two"  # both dials on one style add up
    assert _close(_shown(picture), expected("a blue fish", 4, one=0.0, two=1.25))
    assert len({c.tobytes() for c in (_shown(picture), np.asarray(expected("a blue fish", 4, one=0, two=0)))}) == 2


def test_what_was_seen_is_not_rendered_again(steered, monkeypatch):
    _, _, (_, strength, *_), picture = _parts(explore(steered, "a red heart", **STEPS))
    before = picture.value
    strength.value = 0.5
    monkeypatch.setattr(type(steered), "__call__", lambda *_, **__: pytest.fail("rendered"))
    strength.value = 1.0
    assert picture.value == before


def test_without_widgets_there_is_a_grid_of_two_dials(steered, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    shown = explore(steered, "a red heart", seed=3, strengths=(0, 1), **STEPS)
    grid = StyleGrid.render_dials(steered, "a red heart", (0, 1), adapters=("one", "two"), seed=3, **STEPS)
    assert shown.tobytes() == grid.image(cell_size=128).tobytes()
    with pytest.raises(LineaError, match="pip install ipywidgets"):
        explore(steered, "a red heart", static=False)


def test_one_style_is_a_grid_of_seeds(pipe, random_maps):
    pipe.load_steering(random_maps, "one")
    shown = explore(pipe, "a red heart", seed=2, static=True, strengths=(0, 1), **STEPS)
    grid = StyleGrid.render_seeds(pipe, "a red heart", (0, 1), seeds=range(2, 6), style="one", **STEPS)
    assert shown.tobytes() == grid.image(cell_size=128).tobytes()
    assert len(_parts(explore(pipe, "a red heart", **STEPS))[2]) == 2


def test_nothing_to_explore_is_refused(pipe, random_maps):
    with pytest.raises(LineaError, match="call load_steering first"):
        explore(pipe, "a red heart")
    pipe.load_steering(random_maps)
    with pytest.raises(LineaError, match="at least two different"):
        explore(pipe, "a red heart", strengths=(1, 1))


def test_strengths_are_read_on_the_dial_that_is_asked_for(pipe, random_maps):
    maps = 1.0 * random_maps
    maps.metadata["calibration"] = {"strengths": [0.0, 0.8, 1.0], "values": [0.0, 0.25, 1.0], "measure": "truth"}
    pipe.load_steering(maps, "one")
    for way, stands in ((None, 0.8), (True, 0.8), (False, 0.25)):
        *_, (_, strength), picture = _parts(explore(pipe, "a red heart", calibrated=way, **STEPS))
        strength.value = 0.25
        expected = pipe("a red heart", strength=stands, calibrated=False, generator=seeded(), **STEPS).images[0]
        assert _close(_shown(picture), expected)
    grids = {
        way: explore(pipe, "a red heart", static=True, strengths=[0, 0.25], calibrated=way, **STEPS).tobytes()
        for way in (None, True, False)
    }
    assert grids[None] == grids[True] != grids[False]
