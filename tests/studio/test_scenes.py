"""Scenes and their pictures: the same as calls of the pipeline, made once, in as few calls as can be."""

from __future__ import annotations

import numpy as np
import pytest

from linea_diffusion import LineaError
from linea_diffusion.studio.scenes import Pictures, Scene, row_of

from ..conftest import seeded

STEPS = {"num_inference_steps": 1}


@pytest.fixture
def pictures(pipe, random_maps):
    pipe.load_steering(random_maps, "one")
    pipe.load_steering(-0.5 * random_maps, "two")
    return Pictures(pipe, **STEPS)


def _distance(first, second) -> int:
    return int(np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).max())


def test_pictures_are_those_of_calls(pictures, pipe):
    scene = Scene("a red heart", 3, (("one", 0.5), ("two", -0.25)), window=(0.0, 0.5))
    made, plain = pictures.of([scene, scene.unsteered])
    call = {"generator": seeded(3), **STEPS}
    assert _distance(made, pipe("a red heart", strength=scene.strengths, steering_end=0.5, **call).images[0]) <= 2
    assert (
        plain.tobytes()
        == pipe.base("a red heart", guidance_scale=1.0, **{**call, "generator": seeded(3)}).images[0].tobytes()
    )
    assert _distance(made, plain) > 20


def test_a_row_is_one_call_and_is_made_once(pictures, pipe, monkeypatch):
    calls = []
    usual = type(pipe.base).__call__

    def counted(self, prompt, *args, **kwargs):
        calls.append(len(prompt))
        return usual(self, prompt, *args, **kwargs)

    monkeypatch.setattr(type(pipe.base), "__call__", counted)
    row = row_of(Scene("a red heart").at({"one": 0.0, "two": 0.5}), "one", (-0.5, 0.0, 0.5, 1.0))
    made = pictures.of(row)
    assert calls == [4]
    assert len({one.tobytes() for one in made}) == 4
    again = pictures.of([*row, Scene("a red heart").at({"two": 0.5})])
    assert calls == [4], "a style at 0 is one that is left out"
    assert again[4] is made[1]
    pictures.forget("one")
    assert not pictures.has(row[0])
    assert pictures.has(row[1])


def test_few_are_kept(pictures):
    pictures._most = 2
    scenes = [Scene("a red heart", seed) for seed in range(3)]
    pictures.of(scenes)
    assert [pictures.has(scene) for scene in scenes] == [False, True, True]


def test_what_is_no_scene_is_refused(pictures):
    for wrong in ({"seed": -1}, {"dials": (("one", float("nan")),)}, {"dials": (("one", 11),)}, {"window": (0.5, 0.5)}):
        with pytest.raises(LineaError, match="expected"):
            Scene("a red heart", **wrong)
    with pytest.raises(LineaError, match="got adapter 'three'"):
        pictures.of([Scene("a red heart").at({"three": 1.0})])
