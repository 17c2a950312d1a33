"""The embedded CLIP judges pictures of embedded models; others want one that has seen such pictures."""

from __future__ import annotations

import warnings

import pytest
from PIL import Image

from linea_diffusion import LineaError
from linea_diffusion.scoring.fitting import clip_for


@pytest.mark.parametrize(
    ("clip", "model", "expected"),
    [
        (None, "shapeland-dit", "shapeland-clip"),
        ("ViT-B-32", "shapeland-dit", "ViT-B-32"),
        ("ViT-B-32", "you/sdxl", "ViT-B-32"),
    ],
)
def test_a_clip_that_fits(clip, model, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clip_for(clip, model) == expected


def test_the_embedded_clip_does_not_judge_real_pictures_unasked():
    with pytest.raises(LineaError, match=r"of you/sdxl: shapeland-clip has seen .* --clip ViT-L-14-quickgelu"):
        clip_for(None, "you/sdxl")
    with pytest.warns(UserWarning, match="got --clip shapeland-clip for pictures of you/sdxl"):
        assert clip_for("shapeland-clip", "you/sdxl") == "shapeland-clip"


def test_commands_refuse_before_a_model_is_loaded(linea, tmp_path, random_maps):
    random_maps.metadata.update(concept="neon", base_model="you/sdxl")
    random_maps.save_pretrained(tmp_path / "maps")
    Image.new("RGB", (512, 512)).save(tmp_path / "large.png")
    for command in (
        ("evaluate", "--style", "neon", "--model", "you/sdxl", "--out", tmp_path / "out"),
        ("calibrate", tmp_path / "maps", "--concept", "neon"),
        ("score", tmp_path / "large.png", "--text", "a picture in neon style"),
    ):
        code, _, err = linea(*command)
        assert (code, "got no --clip for pictures of" in err) == (2, True)
    assert "no scores, for shapeland-clip knows" in linea("grid", "x", "--steering", tmp_path / "maps")[2]
