"""Digests that stand in files: they may never change."""

from __future__ import annotations

import json

import torch

from linea_diffusion import SteeringMaps
from linea_diffusion.maps.digests import maps_digest, numbers_digest


def test_digests_are_those_that_files_have(tmp_path):
    maps = SteeringMaps({"unet.a": (1, 8), "unet.b": (1, 6, 2)})
    with torch.no_grad():
        for parameter in maps.parameters():
            parameter.copy_(torch.arange(parameter.numel()).view_as(parameter) / 8 - 0.5)
    assert numbers_digest(maps) == "1beec8e166a524b577167866dff983a079b6464506d96694a223ffc393ef9332"
    assert maps_digest(maps) == "cb254be392dd1110e2dd4a66c55a45bd4683308cd5e7281076dd3fa055634340"
    maps.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["weights_sha256"] == numbers_digest(maps)
    assert maps_digest(SteeringMaps.from_pretrained(tmp_path)) == maps_digest(maps)
    maps.metadata["concept"] = "neon"
    assert maps_digest(maps) == maps_digest(SteeringMaps.from_pretrained(tmp_path)), "facts do not count"
    maps.metadata["calibration"] = {"measure": "progress", "strengths": [0.0, 1.0], "values": [0.0, 1.0]}
    assert maps_digest(maps) != maps_digest(SteeringMaps.from_pretrained(tmp_path)), "the dial does"
