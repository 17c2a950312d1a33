"""Previews: there from the first iteration, whole at any time, and without any trace in what is learned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

from linea_diffusion import LineaError, recipe_for, train_steering_maps
from linea_diffusion.training.preview import Preview

from ..conftest import NEON

QUICK = {"iterations": 3, "batch_size": 4, "num_inference_steps": 2, "stretch": 1.0, "calibrate": False}


def test_previews_leave_no_trace_in_what_is_learned(pipe, tmp_path, monkeypatch):
    config = recipe_for(pipe, NEON, **QUICK)
    shown, show = [], Preview.show

    def note(self, pipe, maps, prompt, arguments, title):
        show(self, pipe, maps, prompt, arguments, title)
        shown.append((title, Image.open(tmp_path / "preview.png").convert("RGB").tobytes()))

    monkeypatch.setattr(Preview, "show", note)
    plain = train_steering_maps(pipe, NEON, config)
    seen = train_steering_maps(pipe, NEON, config, preview=Preview(tmp_path / "preview.png", every=2))
    for name, numbers in plain.numbers().items():
        assert torch.equal(numbers, seen.numbers()[name])
    assert [title for title, _ in shown] == [f"neon after {done} of 3 iterations" for done in (1, 2, 3)]
    assert len({picture for _, picture in shown}) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["preview.png"]


def test_a_preview_shows_the_strengths_side_by_side(pipe, random_maps, tmp_path):
    one = Preview(tmp_path / "a.png", strengths=(0.0, 0.0, 1.0))
    one.show(pipe.base, random_maps, "a red heart", {"num_inference_steps": 2, "output_type": "latent"}, "title")
    sheet = Image.open(tmp_path / "a.png").convert("RGB")
    cells = [sheet.crop((9 + 201 * column, 9, 201 + 201 * column, 201)).tobytes() for column in range(3)]
    assert cells[0] == cells[1] != cells[2]


def test_a_preview_that_fails_is_told_once_and_training_goes_on(pipe, tmp_path):
    config = recipe_for(pipe, NEON, **QUICK)
    with pytest.warns(UserWarning, match="got no preview .* training goes on") as told:
        maps = train_steering_maps(pipe, NEON, config, preview=Preview(tmp_path / "none" / "preview.png", every=1))
    assert len([one for one in told if "no preview" in str(one.message)]) == 1
    assert len(maps.metadata["losses"]) == 3


@pytest.mark.parametrize("settings", [{"every": 0}, {"every": 1.5}])
def test_what_is_no_preview_is_refused(tmp_path, settings):
    with pytest.raises(LineaError, match="whole number above 0"):
        Preview(tmp_path / "a.png", **settings)
    with pytest.raises(LineaError):
        replace(Preview(tmp_path / "a.png"), path=tmp_path / "a.txt")
