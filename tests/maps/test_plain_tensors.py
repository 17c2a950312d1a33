"""Maps from and to plain tensors: the same map, whoever brings the numbers, and errors for what maps cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from linea_diffusion import LineaError, SteeringMaps
from linea_diffusion.maps.digests import maps_digest

NAME = "unet.mid_block.attentions.0"
DRAW = np.random.default_rng(0)
W, B = 1 + 1e-9 * DRAW.normal(size=6), DRAW.normal(size=6)
U, V = DRAW.normal(size=(6, 2)), DRAW.normal(size=(6, 2))


@pytest.mark.parametrize("parts", [(W, B), (W, B, U, V), (np.stack([W, W]), np.stack([B, 2 * B]))])
@pytest.mark.parametrize("make", [np.asarray, torch.tensor])
def test_numbers_of_anybody_are_the_map_that_they_say(parts, make):
    maps = SteeringMaps.from_tensors({NAME: tuple(map(make, parts))}, {"concept": "neon"})
    affine = dict(maps.named_maps())[NAME]
    w, b, *low = (part if part.ndim == 1 or len(parts) == 4 else part[-1] for part in parts)
    z = DRAW.normal(size=(3, 6))
    expected = w * z + b + (z @ low[1] @ low[0].T if low else 0)
    z = torch.from_numpy(z)
    assert affine(z, fraction=0.9).numpy() == pytest.approx(expected, abs=1e-5)
    assert bool(affine.scale_offset.any()), "a w near 1 keeps its change"
    again = maps.to_tensors()[NAME]
    assert len(again) == len(parts)
    assert all(tensor.dtype == torch.float64 for tensor in again)
    assert again[0].numpy() == pytest.approx(parts[0], abs=1e-15)
    assert maps_digest(SteeringMaps.from_tensors(maps.to_tensors())) == maps_digest(maps)


def test_what_is_given_is_copied():
    w, b = torch.ones(4), torch.zeros(4)
    maps = SteeringMaps.from_tensors({NAME: (w, b)})
    b += 1
    maps.to_tensors()[NAME][1].add_(1)
    assert not dict(maps.named_maps())[NAME].shift.any()
    assert not any(part.requires_grad for part in maps.parameters())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({NAME: W}, r"expected a tuple \(w, b\)"),
        ({NAME: (W, B, U)}, r"expected a tuple \(w, b\)"),
        ({NAME: (W, B[:3])}, "shape"),
        ({NAME: (W, ["a"] * 6)}, "torch tensor or a NumPy array"),
        ({NAME: (W, [np.nan] * 6)}, "NaN"),
        ({"a b": (W, B)}, "module named"),
        ({}, "no list of modules"),
    ],
)
def test_what_maps_cannot_be_is_refused(tensors, message):
    with pytest.raises(LineaError, match=message):
        SteeringMaps.from_tensors(tensors)


def test_a_dense_file_has_every_number_under_its_plain_name(tmp_path):
    b = np.zeros(600)
    b[3] = 2.0
    maps = SteeringMaps.from_tensors({NAME: (np.ones(600), b)})
    maps.save_pretrained(tmp_path / "sparse")
    maps.save_pretrained(tmp_path / "dense", dense=True)
    read = load_file(tmp_path / "dense" / "steering.safetensors")
    assert read.keys() == {f"{NAME}.scale_offset", f"{NAME}.shift"}
    assert read[f"{NAME}.shift"].numpy() == pytest.approx(b)
    assert load_file(tmp_path / "sparse" / "steering.safetensors").keys() == {
        f"{NAME}.shift.index",
        f"{NAME}.shift.value",
    }
    for folder in ("sparse", "dense"):
        assert maps_digest(SteeringMaps.from_pretrained(tmp_path / folder)) == maps_digest(maps)


def test_maps_and_pipelines_say_what_they_are(pipe):
    facts = {"concept": "neon", "base_model": "shapeland-unet", "base_class": "StableDiffusionPipeline"}
    maps = SteeringMaps.from_tensors({NAME: (np.ones(144), np.ones(144))}, facts)
    told = repr(maps)
    for words in (
        "neon",
        "shapeland-unet (StableDiffusionPipeline)",
        "1, of which 1 act",
        "144 of 288 not zero (50.00%)",
    ):
        assert words in told
    assert len(told.splitlines()) <= 9
    pipe.load_steering(maps, "mine")
    pipe.set_steering("mine", 0.4)
    lines = repr(pipe).splitlines()
    assert lines[0] == "LinEASStableDiffusionPipeline over StableDiffusionPipeline shapeland-unet, 1 adapter:"
    assert lines[1:] == ["  mine at 0.4: concept neon, 1 activations, 144 of 288 not zero (50.00%)"]
    pipe.disable_steering()
    assert "(disabled)" in repr(pipe)
