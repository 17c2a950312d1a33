"""`linea export` and `linea import`."""

from __future__ import annotations

import json

from PIL import Image

from linea_diffusion import SteeringMaps
from linea_diffusion.cli.exporting import NAMES
from linea_diffusion.maps.lora.programs import PROGRAMS


def test_programs_are_those_of_the_library():
    assert tuple(PROGRAMS) == NAMES


def test_out_and_back(linea, random_maps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SteeringMaps.of(dict(random_maps.named_maps()), {"concept": "pixel art"}).save_pretrained(tmp_path / "maps")
    code, out, err = linea("export", "maps", "--preview", "a red heart")
    assert code == 0, err
    assert "17 layers of Stable Diffusion 1 and 2 for ComfyUI" in out
    assert "models/loras" in err
    beside = json.loads((tmp_path / "pixel-art_comfyui.json").read_text())
    assert (beside["sd version"], beside["preferred weight"]) == ("SD1", 1.0)
    assert Image.open(tmp_path / "pixel-art_comfyui.png").size == (64, 64)
    assert linea("import", "pixel-art_comfyui.safetensors", "--out", "back")[0] == 0
    back = SteeringMaps.from_pretrained(tmp_path / "back")
    assert (len(back.maps), back.metadata["concept"]) == (17, "pixel art")
    assert linea("import", "pixel-art_comfyui.safetensors", "--out", "back")[0] == 2


def test_a_loss_is_refused_unless_allowed(linea, random_maps, tmp_path):
    random_maps.save_pretrained(tmp_path / "maps")
    call = ("export", tmp_path / "maps", "--for", "a1111", "--out", tmp_path / "x.safetensors")
    code, _, err = linea(*call)
    assert code == 2
    assert "AUTOMATIC1111 would lose" in err
    assert linea(*call, "--largest-loss", 9)[0] == 0
    code, _, err = linea("export", tmp_path / "maps", "--for", "fooocus")
    assert (code, "expected one of comfyui" in err) == (2, True)
