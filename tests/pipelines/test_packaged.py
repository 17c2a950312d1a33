"""Styles that come with embedded models are reached by their name; a folder of that name comes first."""

from __future__ import annotations

import pytest

from linea_diffusion.errors import LineaError
from linea_diffusion.shapeland import MODELS, learned_styles

STYLES = {"neon", "watercolor", "mosaic", "halftone", "pixel art", "blueprint", "pencil sketch"}


def test_every_embedded_model_has_every_style():
    assert all(set(learned_styles(model)) == STYLES for model in MODELS)
    assert learned_styles("another") == {}


def test_a_style_is_loaded_by_its_name(pipe, random_maps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pipe.load_steering("pixel-art") == "pixel art"
    numbers = pipe.load_steering("neon") and pipe.steering["neon"].stored
    pipe.unload_steering()
    random_maps.save_pretrained(tmp_path / "neon")
    pipe.load_steering("neon", "mine")
    assert pipe.steering["mine"].stored != numbers
    with pytest.raises(LineaError, match="nearest: neon"):
        pipe.load_steering("neom")


def test_the_first_command_works_without_a_training(linea, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, _ = linea("generate", "a red heart", "--steering", "neon", "--steps", 1, "--out", "heart.png")
    assert code == 0
    assert (tmp_path / "heart.png").is_file()
    assert "neon" in linea("info", "neon")[1]
