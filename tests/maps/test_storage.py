"""The file of steering maps: bit for bit back, zeros not stored, and every damage a clear error."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import random
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from linea_diffusion.errors import LineaError
from linea_diffusion.maps.card import model_card
from linea_diffusion.maps.config_file import config_digest
from linea_diffusion.maps.storage import read_maps, write_maps
from linea_diffusion.steering.affine.affine_map import PARTS

FACTS = {
    "concept": "neon",
    "base_model": "shapeland-unet",
    "base_class": "StableDiffusionPipeline",
    "training": {"lr": 0.02, "strengths": [0.5, 1.0], "target_modules": None},
    "losses": [1.5, 0.25, 1],
    "calibration": {"strengths": [0.0, 0.4, 1.0], "values": [0, 0.5, 1], "measure": "truth"},
}


@pytest.fixture(autouse=True, scope="module")
def quick_disk():
    """Thousands of saves need not wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        yield


def make_numbers(seed: int = 0) -> dict[str, torch.Tensor]:
    """Maps of every kind: dense, sparse, one per step bin, half zero, all zero, with low-rank parts."""
    rng = torch.Generator().manual_seed(seed)
    numbers = {}
    for name, flat, rank, kept in [
        ("text_encoder.layers.0", (5,), 0, 1.0),
        ("unet.mid_block.attn1:1", (4, 64), 0, 0.05),
        ("unet.up_blocks.1", (3, 8), 0, 1.0),
        ("unet.idle", (7,), 0, 0.0),
        ("unet.mixing", (6,), 2, 1.0),
        ("unet.mixing_bins", (2, 40), 3, 0.05),
    ]:
        for part in ("scale_offset", "shift", "up", "down")[: 4 if rank else 2]:
            shape = (*flat, rank) if part in ("up", "down") else flat
            dense = torch.randn(shape, generator=rng)
            numbers[f"{name}.{part}"] = dense * (torch.rand(shape, generator=rng) < kept)
    numbers["unet.mid_block.attn1:1.scale_offset"].zero_()
    return {key: value + 0.0 for key, value in numbers.items()}


def same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return list(left) == list(right) and all(
        left[key].dtype == right[key].dtype == torch.float32
        and left[key].shape == right[key].shape
        and torch.equal(left[key].view(torch.int32), right[key].view(torch.int32))
        for key in left
    )


def saved(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    write_maps(folder, make_numbers(seed), FACTS)
    return folder / "steering.safetensors", folder / "config.json"


def sign(folder: Path) -> None:
    """Make both digests those of the files as they are, so that deeper checks are reached."""
    config = json.loads((folder / "config.json").read_text())
    config["config_sha256"] = config_digest(config)
    config["weights_sha256"] = hashlib.sha256((folder / "steering.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


def rewrite(weights: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Other tensors in a file whose print of the shapes stays."""
    with safe_open(weights, "pt") as file:
        form = file.metadata()
    save_file(tensors, weights, form)


def save_first_format(folder: Path, numbers: dict[str, torch.Tensor]) -> None:
    """A folder as format version 1 had it: all dense, no digests."""
    folder.mkdir(parents=True, exist_ok=True)
    modules = {key.removesuffix(".shift"): len(value) for key, value in numbers.items() if key.endswith(".shift")}
    save_file(numbers, folder / "steering.safetensors")
    (folder / "config.json").write_text(json.dumps({"format_version": 1, "modules": modules, "concept": "neon"}))


# Reading what was written


def test_numbers_and_facts_come_back(tmp_path):
    weights, config = saved(tmp_path)
    numbers, facts = read_maps(str(tmp_path))
    assert same_bits(numbers, make_numbers())
    assert facts.pop("library_versions").keys() == {"linea-diffusion", "torch", "diffusers", "transformers"}
    assert facts == FACTS
    assert {path.name for path in tmp_path.iterdir()} == {weights.name, config.name, "README.md"}
    assert same_bits(read_maps(str(weights))[0], numbers), "the file of numbers stands for its folder"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=2),
    kept=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    size=st.sampled_from([1e-44, 1e-3, 1.0, 3e38]),
)
def test_any_numbers_come_back_bit_for_bit(tmp_path, seed, shape, kept, size):
    rng = torch.Generator().manual_seed(seed)
    numbers = {
        f"unet.a.{part}": (torch.rand(shape, generator=rng) - 0.5)
        * size
        * (torch.rand(shape, generator=rng) < kept).float()
        + 0.0
        for part in ("scale_offset", "shift")
    }
    write_maps(tmp_path, numbers, {})
    assert same_bits(read_maps(str(tmp_path))[0], numbers)
    assert (tmp_path / "steering.safetensors").stat().st_size <= len(save(numbers)), "never larger than all dense"


def test_a_resaved_set_of_maps_is_the_same(tmp_path):
    saved(tmp_path / "one")
    write_maps(tmp_path / "two", *read_maps(str(tmp_path / "one")))
    for name in ("steering.safetensors", "config.json", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_zeros_are_not_stored_and_few_numbers_are_stored_with_their_places(tmp_path):
    weights, config = saved(tmp_path)
    stored = load_file(weights)
    assert sorted(stored) == [
        "text_encoder.layers.0.scale_offset",
        "text_encoder.layers.0.shift",
        "unet.mid_block.attn1:1.shift.index",
        "unet.mid_block.attn1:1.shift.value",
        "unet.mixing.down",
        "unet.mixing.scale_offset",
        "unet.mixing.shift",
        "unet.mixing.up",
        "unet.mixing_bins.down.index",
        "unet.mixing_bins.down.value",
        "unet.mixing_bins.scale_offset.index",
        "unet.mixing_bins.scale_offset.value",
        "unet.mixing_bins.shift.index",
        "unet.mixing_bins.shift.value",
        "unet.mixing_bins.up.index",
        "unet.mixing_bins.up.value",
        "unet.up_blocks.1.scale_offset",
        "unet.up_blocks.1.shift",
    ]
    shift = make_numbers()["unet.mid_block.attn1:1.shift"].flatten()
    index = stored["unet.mid_block.attn1:1.shift.index"]
    assert index.dtype == torch.int32
    assert index.tolist() == shift.nonzero().flatten().tolist()
    assert torch.equal(stored["unet.mid_block.attn1:1.shift.value"], shift[index.long()])
    assert json.loads(config.read_text())["modules"] == {
        "text_encoder.layers.0": [5],
        "unet.mid_block.attn1:1": [4, 64],
        "unet.up_blocks.1": [3, 8],
        "unet.idle": [7],
        "unet.mixing": [1, 6, 2],
        "unet.mixing_bins": [2, 40, 3],
    }
    assert json.loads(config.read_text())["format_version"] == 3


def test_sparse_is_chosen_where_it_is_smaller(tmp_path):
    sizes = {}
    for kept in (0, 100, 400, 700, 1000):
        shift = torch.zeros(1000)
        shift[:kept] = 1.5
        write_maps(tmp_path, {"unet.a.scale_offset": torch.zeros(1000), "unet.a.shift": shift}, {})
        sizes[kept] = (tmp_path / "steering.safetensors").stat().st_size
    assert sizes[0] < 50
    assert sizes[100] < 1000 < 3200 < sizes[400] < 3500
    assert sizes[700] == sizes[1000] < 4200


def test_negative_zeros_are_zeros(tmp_path):
    numbers = {"unet.a.scale_offset": torch.tensor([-0.0, -0.0]), "unet.a.shift": torch.tensor([-0.0, 1.0])}
    write_maps(tmp_path, numbers, {})
    assert list(load_file(tmp_path / "steering.safetensors")) == ["unet.a.shift"]
    expected = {"unet.a.scale_offset": torch.zeros(2), "unet.a.shift": torch.tensor([0.0, 1.0])}
    assert same_bits(read_maps(str(tmp_path))[0], expected)


def test_the_first_format_is_still_read(tmp_path):
    numbers = {key: value for key, value in make_numbers().items() if value.ndim == 1 and "mixing" not in key}
    save_first_format(tmp_path, numbers)
    loaded, facts = read_maps(str(tmp_path))
    assert {key: value.tolist() for key, value in loaded.items()} == {k: v.tolist() for k, v in numbers.items()}
    assert facts == {"concept": "neon"}


@pytest.mark.parametrize("lacking", ["unet.a.shift", "unet.a.scale_offset"])
def test_the_first_format_had_every_tensor(tmp_path, lacking):
    numbers = {"unet.a.scale_offset": torch.zeros(3), "unet.a.shift": torch.zeros(3)}
    save_first_format(tmp_path, numbers)
    save_file({key: value for key, value in numbers.items() if key != lacking}, tmp_path / "steering.safetensors")
    with pytest.raises(LineaError, match=f"got nothing for '{lacking}'"):
        read_maps(str(tmp_path))


def save_second_format(folder: Path, modules: dict[str, list[int]], tensors: dict[str, torch.Tensor]) -> None:
    """A folder as format version 2 had it: dense, or index and value, with digests; the print came later."""
    save_file(tensors, folder / "steering.safetensors")
    (folder / "config.json").write_text(json.dumps({"format_version": 2, "modules": modules, "concept": "neon"}))
    sign(folder)


def test_the_second_format_is_still_read(tmp_path):
    stored = {
        "unet.a.shift": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        "unet.b.scale_offset.index": torch.tensor([3, 90], dtype=torch.int32),
        "unet.b.scale_offset.value": torch.tensor([0.5, -0.25]),
    }
    save_second_format(tmp_path, {"unet.a": [3, 2], "unet.b": [100]}, stored)
    numbers, facts = read_maps(str(tmp_path))
    assert facts == {"concept": "neon"}
    assert {key: tuple(value.shape) for key, value in numbers.items()} == {
        "unet.a.scale_offset": (3, 2),
        "unet.a.shift": (3, 2),
        "unet.b.scale_offset": (100,),
        "unet.b.shift": (100,),
    }
    assert torch.equal(numbers["unet.a.shift"], stored["unet.a.shift"])
    assert numbers["unet.b.scale_offset"].nonzero().flatten().tolist() == [3, 90]


def test_the_second_format_knew_no_rank(tmp_path):
    tensors = {f"unet.a.{part}": torch.ones(3, *more) for part, more in zip(PARTS, ((), (), (2,), (2,)), strict=True)}
    save_second_format(tmp_path, {"unet.a": [1, 3, 2]}, tensors)
    with pytest.raises(LineaError, match=r"got \[1, 3, 2\] as the dimensions .* expected \[d\] or \[bins, d\], whole"):
        read_maps(str(tmp_path))
    save_second_format(tmp_path, {"unet.a": [3]}, tensors)
    with pytest.raises(LineaError, match=r"got 'unet\.a\.down'"):
        read_maps(str(tmp_path))


def test_tuples_come_back_as_lists(tmp_path):
    write_maps(tmp_path, make_numbers(), {"training": {"strengths": (0.5, 1.0)}})
    assert read_maps(str(tmp_path))[1]["training"] == {"strengths": [0.5, 1.0]}


# Writing


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"losses": [0.5, math.nan]}, r"got nan for 'losses\[1\]'.*finite"),
        ({"training": {"lr": math.inf}}, r"got inf for 'training\.lr'"),
        ({"training": {"lr": torch.zeros(2)}}, r"training\.lr.*JSON can hold"),
        ({"training": {"modules": {"a"}}}, "JSON can hold"),
        ({"seed": 10**5000}, "whole number of 16610 bits.*'seed'"),
        ({"steps": {1: 2}}, "got the key 1 .*write it as '1'"),
        ({7: "x"}, "got the key 7"),
        ({"format_version": 1}, "'format_version' in the metadata: expected other names"),
        ({"modules": {}}, "'modules' in the metadata"),
        ({"config_sha256": ""}, "'config_sha256' in the metadata"),
        ({"weights_sha256": ""}, "'weights_sha256' in the metadata"),
        ({"base_model": None}, "got None for 'base_model'.*text"),
        ({"losses": [True]}, "'losses'.*a list of numbers"),
        (["concept"], "expected a dict"),
    ],
)
def test_facts_that_json_cannot_hold_are_refused_and_nothing_is_written(tmp_path, facts, message):
    with pytest.raises(LineaError, match=message):
        write_maps(tmp_path / "maps", make_numbers(), facts)
    assert not (tmp_path / "maps").exists()


def test_facts_that_hold_themselves_are_refused(tmp_path):
    facts: dict = {}
    facts["training"] = facts
    with pytest.raises(LineaError, match="nested deeper than 32"):
        write_maps(tmp_path, make_numbers(), facts)


GOOD = torch.zeros(2)


def mixing(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Numbers of one map with a low-rank part, some of them changed or left out."""
    parts = {"scale_offset": GOOD, "shift": GOOD, "up": torch.zeros(2, 3), "down": torch.zeros(2, 3), **changes}
    return {f"unet.a.{part}": value for part, value in parts.items() if value is not None}


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({}, "no list of modules"),
        ({"unet.a.shift": GOOD}, "no scale_offset for 'unet.a'"),
        ({"unet.a.shift": GOOD, "unet.a.scale_offset": torch.zeros(3)}, r"shape \(3,\) for 'unet.a.scale_offset'"),
        ({"unet.a.shift": GOOD, "unet.a.scale_offset": GOOD.half()}, "float16 numbers.*expected torch.float32"),
        ({"unet.a.shift": GOOD, "unet.a.scale_offset": GOOD / 0}, "NaN or infinity in 'unet.a.scale_offset'"),
        ({"unet.a.shift": GOOD, "unet.a.bias": GOOD}, "named 'unet.a.bias'"),
        ({"shift": GOOD, "scale_offset": GOOD}, "a module named ''"),
        ({"unet.a:0.shift": GOOD, "unet.a:0.scale_offset": GOOD}, "a module named 'unet.a:0'"),
        ({"a.shift": torch.zeros(()), "a.scale_offset": torch.zeros(())}, r"\[\] as the dimensions"),
        ({"a.shift": torch.zeros(0), "a.scale_offset": torch.zeros(0)}, r"\[0\] as the dimensions"),
        ({"a.shift": torch.zeros(1, 1, 1), "a.scale_offset": torch.zeros(1, 1, 1)}, r"\[1, 1, 1\] as the dimensions"),
        (mixing(up=None), "no up for 'unet.a'"),
        (mixing(down=None), "no down for 'unet.a'"),
        (mixing(shift=None), "no shift for 'unet.a'"),
        (mixing(down=torch.zeros(2, 2)), r"shape \(2, 2\) for 'unet.a.down'.*shape \(2, 3\)"),
        (mixing(down=torch.zeros(3, 2)), r"shape \(3, 2\) for 'unet.a.down'"),
        (mixing(shift=torch.zeros(3)), r"shape \(3,\) for 'unet.a.shift'.*shape \(2,\)"),
        (mixing(up=torch.zeros(2, 2, 3)), r"shape \(2,\) for 'unet.a.scale_offset'.*shape \(2, 2\)"),
        (mixing(up=torch.zeros(2, 3).half()), "float16 numbers .*'unet.a.up'"),
        (mixing(up=torch.zeros(2, 3) / 0), "NaN or infinity in 'unet.a.up'"),
        (mixing(up=torch.zeros(2, 0), down=torch.zeros(2, 0)), r"\[1, 2, 0\] as the dimensions"),
        (mixing(up=GOOD, down=GOOD), r"\[2\] as the dimensions of 'unet.a' in the maps: expected \[bins, d, rank\],"),
        (mixing(up=torch.zeros(1, 2, 3), down=torch.zeros(1, 2, 3)), r"\(1, 2, 3\) for 'unet.a.up'.*shape \(2, 3\)"),
    ],
)
def test_numbers_that_are_no_maps_are_refused_and_nothing_is_written(tmp_path, numbers, message):
    with pytest.raises(LineaError, match=message):
        write_maps(tmp_path / "maps", numbers, {})
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize("first_format", [False, True])
@pytest.mark.parametrize("survived", [0, 1, 2])
def test_a_crash_while_saving_is_never_unnoticed(tmp_path, monkeypatch, survived, first_format):
    """After any number of files the folder holds the old maps whole, the new ones whole, or an error."""
    old = {"unet.a.scale_offset": torch.ones(3), "unet.a.shift": torch.ones(3)}
    new = {key: 2 * value for key, value in old.items()}
    save_first_format(tmp_path, old) if first_format else write_maps(tmp_path, old, {"concept": "neon"})
    replace, done = Path.replace, []

    def crash(path, target):
        if len(done) == survived:
            raise KeyboardInterrupt
        done.append(path)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_maps(tmp_path, new, {"concept": "watercolor"})
    if survived == 1:
        with pytest.raises(LineaError, match="do not belong together"):
            read_maps(str(tmp_path))
    else:
        numbers, facts = read_maps(str(tmp_path))
        expected = (old, "neon") if survived == 0 else (new, "watercolor")
        assert ({key: value.tolist() for key, value in numbers.items()}, facts["concept"]) == (
            {key: value.tolist() for key, value in expected[0].items()},
            expected[1],
        )
    assert not list(tmp_path.glob("*.partial"))


def test_a_full_disk_is_a_clear_error_and_leaves_the_old_maps(tmp_path, monkeypatch):
    saved(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(LineaError, match=r"No space left on device.*make room"):
        write_maps(tmp_path, make_numbers(1), {})
    assert same_bits(read_maps(str(tmp_path))[0], make_numbers())


@pytest.mark.parametrize("name", ["config.json", "steering.safetensors.partial"])
def test_a_folder_in_the_way_is_a_clear_error(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(LineaError, match="expected to write"):
        write_maps(tmp_path, make_numbers(), {})


@pytest.mark.parametrize("folder", ["taken", "taken/inside", "null\0byte"])
def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path, folder):
    (tmp_path / "taken").touch()
    with pytest.raises(LineaError, match="expected a writable place"):
        write_maps(tmp_path / folder, make_numbers(), {})


# Damage


def test_missing_files_say_which(tmp_path):
    weights, config = saved(tmp_path)
    weights.unlink()
    with pytest.raises(LineaError, match=r"steering\.safetensors is missing$"):
        read_maps(str(tmp_path))
    config.unlink()
    with pytest.raises(LineaError, match=r"config\.json is missing$"):
        read_maps(str(tmp_path))


@pytest.mark.parametrize("name", ["steering.bin", "pytorch_model.bin", "steering.pt"])
@pytest.mark.parametrize("with_config", [True, False])
def test_pickles_are_refused(tmp_path, name, with_config):
    weights, config = saved(tmp_path)
    weights.rename(tmp_path / name)
    if not with_config:
        config.unlink()
    with pytest.raises(LineaError, match=f"{name} is not read: pickles can run code"):
        read_maps(str(tmp_path))
    with pytest.raises(LineaError, match=r"its steering\.safetensors; pickles are not read"):
        read_maps(str(tmp_path / name))


def test_another_file_is_refused(tmp_path):
    _, config = saved(tmp_path)
    with pytest.raises(LineaError, match=r"config\.json': expected a folder of maps or its steering\.safetensors$"):
        read_maps(str(config))


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path):
    weights, _ = saved(tmp_path)
    weights.unlink()
    weights.mkdir()
    with pytest.raises(LineaError, match=r"expected a readable steering\.safetensors"):
        read_maps(str(tmp_path))


def test_a_revision_of_a_local_folder_is_refused(tmp_path):
    saved(tmp_path)
    with pytest.raises(LineaError, match="got revision 'main' of the local"):
        read_maps(str(tmp_path), revision="main")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
        ("1" * 5000, "damaged"),
        ("\ufeff{}", "damaged"),
        (b"\xff\xfe{}", "damaged"),
        ('{"format_version": NaN}', "NaN is not JSON"),
        ('{"format_version": 2, "format_version": 2}', "the same key twice"),
        ("[]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ("{}", "got format version None"),
        ('{"format_version": "2"}', "got format version '2'"),
        ('{"format_version": true}', "got format version True"),
        ('{"format_version": 2.0}', r"got format version 2\.0"),
        ('{"format_version": 0}', "got format version 0"),
        ('{"format_version": 99}', "version 99 .*update linea-diffusion"),
        ('{"format_version": 1}', "no list of modules"),
        ('{"format_version": 2}', "no list of modules"),
    ],
)
def test_a_config_that_is_none(tmp_path, text, message):
    _, config = saved(tmp_path)
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LineaError, match=message):
        read_maps(str(tmp_path))


CURVE = FACTS["calibration"]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modules": []}, "no list of modules"),
        ({"modules": {}}, "no list of modules"),
        ({"modules": "unet"}, "no list of modules"),
        *[
            ({"modules": {"unet.a": shape}}, "as the dimensions of 'unet.a'")
            for shape in (
                *(3, "3", None, {}, [], [1, 2, 3, 4], [0], [-3], [True], [3.0], ["3"], [None], [[3]], [0, 3], [3, -1]),
                *([10**12], [10**300], [2**28 + 1], [1, 10**12]),
            )
        ],
        ({"modules": {"unet.a": [2**20, 2**20]}}, "got 1099511627776 numbers"),
        ({"modules": {f"unet.{i}": [2**28] for i in range(9)}}, "expected at most 268435456"),
        *[
            ({"modules": {name: [3]}}, "got a module named")
            for name in (
                *("", ".", "unet.", ".a", "unet..a", "unet/a", "../a", "unet a", "unet\n", "unét", "\0", "unet\\a"),
                *("unet.a:0", "unet.a:x", "unet.a:-1", "unet.a:1:2", "unet:1.a", "items", "training", "__class__"),
            )
        ],
        ({"base_model": 3}, "got 3 for 'base_model'"),
        ({"base_class": ["a"]}, "'base_class'.*expected text"),
        ({"concept": {}}, "'concept'.*expected text"),
        ({"prompts_sha256": 1}, "'prompts_sha256'.*expected text"),
        ({"training": []}, "'training'.*expected a dict"),
        ({"library_versions": "2"}, "'library_versions'.*expected a dict"),
        ({"losses": 0.5}, "'losses'.*a list of numbers"),
        ({"losses": ["0.5"]}, "'losses'.*a list of numbers"),
        ({"losses": [None]}, "'losses'.*a list of numbers"),
        *[
            ({"calibration": curve}, "'calibration'.*expected")
            for curve in (
                *(None, [], "linear", {}, {"strengths": [0, 1], "values": [0, 1]}, {**CURVE, "more": 1}),
                *({**CURVE, "measure": 3}, {**CURVE, "values": [0, 1]}, {**CURVE, "values": 1}),
                *({**CURVE, "values": [0, "0.5", 1]}, {**CURVE, "values": [0, 1.5, 1]}),
                *({**CURVE, "values": [0, True, 1]}, {**CURVE, "values": [0.1, 0.5, 1]}),
                *({**CURVE, "values": [0, 0.5, 0.9]}, {**CURVE, "strengths": [0, 0, 1]}),
                *({**CURVE, "strengths": [0, 2, 1]}, {**CURVE, "strengths": [1, 0.5, 0]}),
                {"strengths": [0], "values": [0], "measure": ""},
                {"strengths": [], "values": [], "measure": ""},
            )
        ],
    ],
)
def test_a_config_with_wrong_contents(tmp_path, change, message, signed):
    _, config = saved(tmp_path)
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    if signed:
        sign(tmp_path)
    with pytest.raises(LineaError, match=message) as raised:
        read_maps(str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"losses": [1e999]', "got inf"),
        ('"deep": ' + "[" * 200 + "]" * 200, "nested deeper"),
        ('"big": ' + "9" * 4000, "a whole number of 13288 bits"),
    ],
)
def test_json_that_python_reads_too_kindly(tmp_path, text, message):
    _, config = saved(tmp_path)
    config.write_text(config.read_text().replace('"losses"', f'{text}, "former"'))
    with pytest.raises(LineaError, match=message):
        read_maps(str(tmp_path))


def test_changed_facts_are_noticed_and_the_error_says_how_to_keep_them(tmp_path):
    _, config = saved(tmp_path)
    config.write_text(config.read_text().replace("neon", "noon"))
    with pytest.raises(LineaError, match="changed after it was saved") as raised:
        read_maps(str(tmp_path))
    facts = json.loads(config.read_text())
    config.write_text(json.dumps({**facts, "config_sha256": str(raised.value).split()[-1]}))
    assert read_maps(str(tmp_path))[1]["concept"] == "noon"


def test_changed_numbers_are_noticed_and_the_error_says_how_to_keep_them(tmp_path):
    weights, config = saved(tmp_path)
    key = "unet.up_blocks.1.shift"
    rewrite(weights, {**load_file(weights), key: torch.full((3, 8), 0.25)})
    with pytest.raises(LineaError, match="the two files do not belong together") as raised:
        read_maps(str(tmp_path))
    config.write_text(json.dumps({**json.loads(config.read_text()), "weights_sha256": str(raised.value).split()[-1]}))
    assert read_maps(str(tmp_path))[0][key].unique().tolist() == [0.25]


@pytest.mark.parametrize("key", ["config_sha256", "weights_sha256"])
@pytest.mark.parametrize("value", [None, 7, "", "missing"])
def test_a_digest_must_be_there(tmp_path, key, value):
    _, config = saved(tmp_path)
    facts = {**json.loads(config.read_text()), key: value}
    if value == "missing":
        del facts[key]
    config.write_text(json.dumps(facts))
    with pytest.raises(LineaError, match=key):
        read_maps(str(tmp_path))


def test_files_of_two_saves_do_not_belong_together(tmp_path):
    saved(tmp_path / "one")
    weights, _ = saved(tmp_path / "two", seed=1)
    weights.replace(tmp_path / "one" / weights.name)
    with pytest.raises(LineaError, match="the two files do not belong together"):
        read_maps(str(tmp_path / "one"))


def test_swapped_dimensions_in_the_config_are_noticed(tmp_path):
    _, config = saved(tmp_path)
    facts = json.loads(config.read_text())
    facts["modules"]["unet.mid_block.attn1:1"] = [64, 4]
    config.write_text(json.dumps(facts))
    with pytest.raises(LineaError, match="changed after it was saved"):
        read_maps(str(tmp_path))


DENSE, SPARSE = "unet.up_blocks.1.shift", "unet.mid_block.attn1:1.shift"
INDEX, VALUE = f"{SPARSE}.index", f"{SPARSE}.value"


def changed(stored: dict, key: str, change) -> dict:
    return {**stored, key: change(stored[key]).contiguous()}


def put(position: int, number: float):
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[position] = number
        return tensor

    return change


NUMBER_DAMAGE = {
    "float16": (lambda s: changed(s, DENSE, torch.Tensor.half), "got F16 .*'unet.up_blocks.1.shift'.*F32"),
    "bfloat16": (lambda s: changed(s, DENSE, torch.Tensor.bfloat16), "got BF16"),
    "float64": (lambda s: changed(s, DENSE, torch.Tensor.double), "got F64"),
    "int64": (lambda s: changed(s, DENSE, torch.Tensor.long), "got I64"),
    "int32 for numbers": (lambda s: changed(s, DENSE, torch.Tensor.int), "got I32"),
    "bool": (lambda s: changed(s, DENSE, torch.Tensor.bool), "got BOOL"),
    "int64 index": (lambda s: changed(s, INDEX, torch.Tensor.long), "got I64 .*expected I32"),
    "float index": (lambda s: changed(s, INDEX, torch.Tensor.float), "got F32 .*expected I32"),
    "float16 value": (lambda s: changed(s, VALUE, torch.Tensor.half), "got F16"),
    "NaN": (lambda s: changed(s, DENSE, put(3, math.nan)), f"NaN or infinity in '{DENSE}'"),
    "infinity": (lambda s: changed(s, DENSE, put(3, -math.inf)), "NaN or infinity"),
    "NaN value": (lambda s: changed(s, VALUE, put(0, math.nan)), "NaN or infinity"),
    "swapped dimensions": (lambda s: changed(s, DENSE, torch.Tensor.t), r"shape \(8, 3\).*expected.*shape \(3, 8\)"),
    "flat": (lambda s: changed(s, DENSE, torch.Tensor.flatten), r"shape \(24,\).*shape \(3, 8\)"),
    "one too few": (lambda s: changed(s, DENSE, lambda t: t[:, 1:]), r"shape \(3, 7\)"),
    "empty": (lambda s: changed(s, DENSE, lambda t: t[:0]), r"shape \(0, 8\)"),
    "scalar": (lambda s: changed(s, DENSE, lambda t: t[0, 0]), r"shape \(\)"),
    "extra key": (lambda s: {**s, "unet.more.shift": torch.zeros(3)}, "got 'unet.more.shift'"),
    "another extra key": (lambda s: {**s, "__proto__": torch.zeros(3)}, "got '__proto__'"),
    "no index": (lambda s: {k: v for k, v in s.items() if k != INDEX}, "expected either .* or both"),
    "no value": (lambda s: {k: v for k, v in s.items() if k != VALUE}, "expected either .* or both"),
    "dense and sparse": (lambda s: {**s, SPARSE: torch.zeros(4, 64)}, "expected either"),
    "dense and index": (
        lambda s: {**{k: v for k, v in s.items() if k != VALUE}, SPARSE: torch.zeros(4, 64)},
        "expected either",
    ),
    "index too large": (lambda s: changed(s, INDEX, put(-1, 256)), "leaves 0 to 255"),
    "negative index": (lambda s: changed(s, INDEX, put(0, -1)), "leaves 0 to 255"),
    "index falls": (lambda s: changed(s, INDEX, lambda t: t.flip(0)), "does not rise"),
    "index unsorted inside": (lambda s: changed(s, INDEX, put(1, 255)), "does not rise"),
    "index twice": (lambda s: changed(s, INDEX, lambda t: t[:1].expand(len(t))), "does not rise"),
    "extreme index": (lambda s: changed(s, INDEX, put(0, -(2**31))), "leaves 0 to 255"),
    "empty index": (lambda s: changed(changed(s, INDEX, lambda t: t[:0]), VALUE, lambda t: t[:0]), r"shape \(0,\)"),
    "shorter value": (lambda s: changed(s, VALUE, lambda t: t[1:]), f"{VALUE}"),
    "value of two axes": (lambda s: changed(s, VALUE, lambda t: t[None]), r"shape \(1, "),
    "index of two axes": (lambda s: changed(s, INDEX, lambda t: t[None]), r"shape \(1, "),
    "rank too small": (lambda s: changed(s, "unet.mixing.up", lambda t: t[:, :1]), r"shape \(6, 1\).*shape \(6, 2\)"),
    "rows of U": (lambda s: changed(s, "unet.mixing.up", torch.Tensor.t), r"shape \(2, 6\).*shape \(6, 2\)"),
    "NaN in V": (lambda s: changed(s, "unet.mixing.down", put(1, math.nan)), "NaN or infinity in 'unet.mixing.down'"),
    "float16 U": (lambda s: changed(s, "unet.mixing.up", torch.Tensor.half), "got F16"),
    "no value of U": (lambda s: {k: v for k, v in s.items() if k != "unet.mixing_bins.up.value"}, "expected either"),
    "index of V too large": (lambda s: changed(s, "unet.mixing_bins.down.index", put(-1, 240)), "leaves 0 to 239"),
    "U of a map without": (lambda s: {**s, "unet.idle.up": torch.zeros(7, 1)}, "got 'unet.idle.up'"),
    "index longer than the tensor": (lambda s: changed(s, INDEX, lambda t: torch.arange(300).int()), r"shape \(300,\)"),
}


@pytest.mark.parametrize("what", NUMBER_DAMAGE)
def test_wrong_numbers_below_the_digest(tmp_path, what):
    weights, _ = saved(tmp_path)
    damage, message = NUMBER_DAMAGE[what]
    rewrite(weights, damage(load_file(weights)))
    with pytest.raises(LineaError, match="the two files do not belong together"):
        read_maps(str(tmp_path))
    sign(tmp_path)
    with pytest.raises(LineaError, match=message):
        read_maps(str(tmp_path))


def header(text: str, numbers: bytes = b"") -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode() + numbers


ENTRY = '{"dtype":"%s","shape":%s,"data_offsets":[0,%d]}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\xff" * 64,
        b"\x80\x04\x95pickle",
        header("[]"),
        header("{"),
        header('{"a": 1}'),
        header('{"a":' + ENTRY % ("F99", "[1]", 4) + "}", bytes(4)),
        header('{"a":' + ENTRY % ("F4", "[2]", 1) + "}", bytes(1)),
        header('{"a":' + ENTRY % ("F32", "[-1]", 4) + "}", bytes(4)),
        header('{"a":' + ENTRY % ("F32", "[1000000000000]", 4) + "}", bytes(4)),
        header('{"a":' + ENTRY % ("F32", "[0,9223372036854775807]", 0) + "}"),
        header('{"a":' + ENTRY % ("F32", "[4294967296,4294967296]", 0) + "}"),
        header('{"a":' + ENTRY % ("F32", "[1]", 8) + "}", bytes(8)),
        header("{}", bytes(4)),
        header("{" + " " * 10),
        (2**63).to_bytes(8, "little") + b"{}",
    ],
)
def test_bytes_that_are_no_safetensors(tmp_path, content):
    weights, _ = saved(tmp_path)
    weights.write_bytes(content)
    sign(tmp_path)
    with pytest.raises(LineaError, match=r"steering\.safetensors of"):
        read_maps(str(tmp_path))


def test_every_truncation_is_noticed(tmp_path):
    for path in saved(tmp_path):
        intact = path.read_bytes()
        for length in range(0, len(intact.rstrip()), 7):
            path.write_bytes(intact[:length])
            with pytest.raises(LineaError):
                read_maps(str(tmp_path))
        path.write_bytes(intact)
    read_maps(str(tmp_path))


# Fuzzing


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One to three flips, insertions, deletions, doublings or cuts at random places."""
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at, length = rng.randrange(len(damaged) or 1), rng.randint(1, 9)
        what = rng.choice(["flip", "flip", "flip", "digit", "insert", "delete", "double", "cut"])
        if what == "flip" and damaged:
            damaged[at] ^= 1 << rng.randrange(8)
        elif what == "digit" and damaged:
            damaged[at] = rng.choice(b'0123456789-.eE[]{}",: ')
        elif what == "insert":
            damaged[at:at] = rng.randbytes(length)
        elif what == "delete":
            del damaged[at : at + length]
        elif what == "double":
            damaged[at:at] = damaged[at : at + length]
        elif what == "cut" and rng.random() < 0.2:
            del damaged[at:]
    return bytes(damaged)


def outcome(folder: Path) -> tuple | None:
    """What `read_maps` gives, or None for its one kind of error; anything else fails the test."""
    try:
        return read_maps(str(folder))
    except LineaError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 1200
    return None


@pytest.mark.parametrize("which", [0, 1], ids=["weights", "config"])
def test_random_damage_is_an_error_or_harmless(tmp_path, which):
    path = saved(tmp_path)[which]
    intact, good = path.read_bytes(), read_maps(str(tmp_path))
    rng, harmless = random.Random(which), 0
    for _ in range(2000):
        path.write_bytes(mutated(intact, rng))
        result = outcome(tmp_path)
        if result is not None:
            harmless += 1
            assert same_bits(result[0], good[0])
            assert result[1] == good[1]
    assert harmless < 300


def test_random_damage_below_the_digest_gives_valid_maps_or_an_error(tmp_path):
    """With a digest that fits the damage, what is accepted still has the right names and shapes, all finite."""
    path, _ = saved(tmp_path)
    intact, shapes = path.read_bytes(), {key: value.shape for key, value in make_numbers().items()}
    rng, refused = random.Random(2), 0
    for _ in range(1000):
        path.write_bytes(mutated(intact, rng))
        sign(tmp_path)
        result = outcome(tmp_path)
        refused += result is None
        if result is not None:
            assert {key: value.shape for key, value in result[0].items()} == shapes
            assert all(bool(value.isfinite().all()) for value in result[0].values())
    assert refused > 400


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), junk=JUNK)
def test_junk_anywhere_in_a_signed_config_never_crashes(tmp_path, data, junk):
    _, path = saved(tmp_path)
    config = json.loads(path.read_text())
    inner, key = config, None
    while isinstance(inner, dict | list) and inner and (key is None or data.draw(st.booleans())):
        outer, key = inner, data.draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        inner = outer[key]
    outer[key] = junk
    path.write_text(json.dumps(config))
    sign(tmp_path)
    result = outcome(tmp_path)
    if result is not None:
        assert same_bits(result[0], make_numbers()), "only facts of unknown type may differ"


# Small files that would take all memory or time


IDLE, SPARSE_MODULE = "unet.idle", "unet.mid_block.attn1:1"


@pytest.mark.parametrize(
    "change",
    [
        *({IDLE: [1]}, {IDLE: [1, 7]}, {IDLE: [7, 1]}, {IDLE: [2**28 - 1000]}, {IDLE: [1, 7, 4]}, {"unet.more": [7]}),
        *({SPARSE_MODULE: [64, 4]}, {"unet.mixing_bins": [2, 40, 4]}, {"unet.mixing_bins": [2, 40]}),
        {"text_encoder.layers.0": [1, 5, 3]},
    ],
)
def test_modules_without_dense_numbers_have_the_shapes_that_they_were_saved_with(tmp_path, change):
    _, config = saved(tmp_path)
    facts = json.loads(config.read_text())
    config.write_text(json.dumps({**facts, "modules": {**facts["modules"], **change}}))
    sign(tmp_path)
    with pytest.raises(LineaError, match="saved for other modules or shapes"):
        read_maps(str(tmp_path))


@pytest.mark.parametrize("rank", [1, 10**6])
def test_a_rank_that_no_tensor_shows_needs_the_print(tmp_path, rank):
    """Files whose tensors show every shape have none; a claim of ranks that are all zero is not believed."""
    write_maps(tmp_path, {"unet.a.scale_offset": torch.ones(3), "unet.a.shift": torch.ones(3)}, {})
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "modules": {"unet.a": [1, 3, rank]}}))
    sign(tmp_path)
    with pytest.raises(LineaError, match="saved for other modules or shapes"):
        read_maps(str(tmp_path))


def test_dense_low_rank_parts_need_no_print(tmp_path):
    numbers = {key: value for key, value in make_numbers().items() if key.startswith("unet.mixing.")}
    write_maps(tmp_path, numbers, {})
    with safe_open(tmp_path / "steering.safetensors", "pt") as file:
        assert not file.metadata()
    assert same_bits(read_maps(str(tmp_path))[0], numbers)


def test_maps_from_before_shapes_were_noted_are_still_read_if_their_numbers_are_enough(tmp_path):
    """In the second format; later files always have the print where it is needed."""
    weights, config = saved(tmp_path)
    save_file(load_file(weights), weights)
    sign(tmp_path)
    with pytest.raises(LineaError, match="saved for other modules or shapes"):
        read_maps(str(tmp_path))
    plain = {key: value for key, value in make_numbers().items() if "mixing" not in key}
    write_maps(tmp_path, plain, {})
    save_file(load_file(weights), weights)
    facts = {**json.loads(config.read_text()), "format_version": 2}
    config.write_text(json.dumps(facts))
    sign(tmp_path)
    assert same_bits(read_maps(str(tmp_path))[0], plain)
    facts["modules"]["unet.idle"] = [2**27]
    config.write_text(json.dumps(facts))
    sign(tmp_path)
    with pytest.raises(LineaError, match="numbers for the few in"):
        read_maps(str(tmp_path))


def test_what_is_written_is_read_however_few_numbers_are_not_zero(tmp_path):
    """More zeros than may be left out are stored."""
    numbers = {f"unet.a.{part}": torch.zeros(5, 2**20) for part in ("scale_offset", "shift")}
    numbers["unet.a.shift"][3, 7] = 1
    write_maps(tmp_path, numbers, {})
    assert same_bits(read_maps(str(tmp_path))[0], numbers)
    assert (tmp_path / "steering.safetensors").stat().st_size > 2**25


def test_too_many_modules_are_refused(tmp_path):
    _, config = saved(tmp_path)
    facts = json.loads(config.read_text())
    facts["modules"].update({f"unet.idle{number}": [3] for number in range(100_000)})
    config.write_text(json.dumps(facts))
    with pytest.raises(LineaError, match=r"got 100006 modules in config.json of .*: expected at most 16384"):
        read_maps(str(tmp_path))


@pytest.mark.parametrize("key", ["losses", "modules", "training"])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("deep", [100, 5000, 100_000])
def test_deep_nesting_is_one_line(tmp_path, key, begin, end, deep):
    _, config = saved(tmp_path)
    config.write_text(config.read_text().replace(f'"{key}":', f'"{key}": {begin * deep}1{end * deep}, "former":', 1))
    assert outcome(tmp_path) is None


@pytest.mark.parametrize("name", ["steering.safetensors", "config.json"])
@pytest.mark.parametrize("kind", ["pipe", "zeros"])
def test_only_regular_files_are_read(tmp_path, name, kind):
    saved(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name) if kind == "pipe" else (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(LineaError, match=f"expected a readable {name}, a regular file"):
        read_maps(str(tmp_path))


# The model card


@pytest.mark.parametrize(
    ("base", "named"),
    [("stabilityai/sdxl-turbo", "stabilityai/sdxl-turbo"), ("1/2", "1/2"), ("shapeland-unet", None), ("/a/b", None)],
)
def test_the_model_card_is_one_that_the_hub_reads(base, named):
    card = ModelCard(model_card({"modules": {"unet.a": [3]}, "concept": "neon", "base_model": base}, "me/neon"))
    facts = card.data.to_dict()
    assert (facts["library_name"], facts["pipeline_tag"]) == ("linea-diffusion", "text-to-image")
    assert "lineas" in facts["tags"]
    assert facts.get("base_model") == named
    assert "license" not in facts
    assert 'load_steering("me/neon")' in card.text


@pytest.mark.parametrize(
    ("shapes", "formula"),
    [
        ([[3], [2, 3]], "((w - 1) * z + b), coordinate by coordinate"),
        ([[3], [1, 3, 2], [2, 3, 4]], "((w - 1) * z + U V^T z + b), with U and V of rank 4 or less"),
    ],
)
def test_the_model_card_tells_the_formula_and_the_rank(shapes, formula):
    card = model_card({"modules": {f"unet.{number}": shape for number, shape in enumerate(shapes)}})
    assert f"`T(z) = z + strength * {formula}`" in card
    assert f"{len(shapes)} affine maps" in card


@pytest.mark.parametrize(
    "text", ['with "quotes"', "two\nlines", "---\nlicense: x", "```", "back\\slash", "雪", "\ud800"]
)
def test_any_name_gives_a_card_and_an_example_that_is_python(tmp_path, text):
    write_maps(tmp_path, make_numbers(), {"concept": text, "base_model": text})
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "license" not in ModelCard(card).data.to_dict()
    example = card.split("```python\n")[1].split("\n```\n")[0]
    ast.parse(example)
    assert read_maps(str(tmp_path))[1]["concept"] == text
