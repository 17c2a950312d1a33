"""Grids of a window and their files; styles that leave the page, and those that are brought."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest
from PIL import Image

from linea_diffusion import LineaError
from linea_diffusion.maps.digests import maps_digest
from linea_diffusion.studio.gridding import FORMS, KINDS, grid_file, grid_value, plan_of, render_grid
from linea_diffusion.studio.keeping import as_lora, as_zip, push
from linea_diffusion.studio.page.explore_tab import bring


def test_all_kinds_of_grids_and_their_files(bench):
    two = ["one", "two"]
    plans = [plan_of(bench, kind, ["a red heart", "a fish"], two, "0,1", 3) for kind in KINDS]
    assert [(plan.kind, len(plan.rows)) for plan in plans] == [
        ("prompts x strengths", 2), ("styles x strengths", 2), ("seeds x strengths", 4), ("one x two", 2),
    ]  # fmt: skip
    grid = render_grid(bench, plans[1], scores=False)
    value = grid_value(grid)
    assert [row["label"] for row in value["rows"]] == two
    assert value["rows"][0]["cells"][0]["src"] == value["rows"][1]["cells"][0]["src"]
    files = {form: grid_file(bench, form) for form in FORMS}
    assert all(file.parent == bench.folder for file in files.values())
    assert Image.open(files["GIF"]).n_frames > 1
    assert "<html" in files["report"].read_text()
    assert len([name for name in zipfile.ZipFile(files["pictures"]).namelist() if name.endswith(".png")]) == 4


def test_grids_that_are_none_are_refused(bench):
    with pytest.raises(LineaError, match="made first"):
        grid_file(bench, "PNG")
    for kind, prompts, styles, strengths in (
        ("prompts", [], ["one"], "0,1"), ("prompts", ["a"], [], "0,1"), ("other", ["a"], ["one"], "0,1"),
        ("prompts", ["a"] * 101, ["one"], "0:1:5"), ("style against style", ["a"], ["one"], "0,1"),
        ("prompts", ["a"], ["one"], "much"), ("prompts", ["a"], ["three"], "0,1"),
    ):  # fmt: skip
        with pytest.raises(LineaError, match="expected"):
            plan_of(bench, kind, prompts, styles, strengths, 0)


def test_a_style_leaves_and_comes_back(bench, tmp_path):
    with zipfile.ZipFile(as_zip(bench, "one")) as file:
        assert {"one/steering.safetensors", "one/config.json"} <= set(file.namelist())
        file.extractall(tmp_path)
    files = [tmp_path / "one" / name for name in ("steering.safetensors", "config.json")]
    name = bring(bench, files)
    assert maps_digest(bench.pipe.steering[name]) == maps_digest(bench.pipe.steering["one"])
    path, report = as_lora(bench, "one", "comfyui")
    assert "layers" in report
    shutil.copy(path, tmp_path / "back.safetensors")
    assert bring(bench, [tmp_path / "back.safetensors"]) == "back"
    with pytest.raises(LineaError, match="expected"):
        as_lora(bench, "one", "paint")
    with pytest.raises(LineaError, match="got no style"):
        as_zip(bench, None)


def test_what_is_no_style_is_refused_by_the_checks_of_all_maps(bench, tmp_path):
    bench.pipe.steering["one"].save_pretrained(tmp_path)
    weights, config = tmp_path / "steering.safetensors", tmp_path / "config.json"
    before = list(bench.styles)
    whole = config.read_text()
    for text in ("{", json.dumps({**json.loads(whole), "format_version": 99}), whole.replace("attn1", "attn9")):
        config.write_text(text)
        with pytest.raises(LineaError, match="expected"):
            bring(bench, [weights, config])
    (tmp_path / "evil.safetensors").write_bytes(b"no tensors at all")
    for files in ([], [weights], [config], [tmp_path / "evil.safetensors"]):
        with pytest.raises(LineaError, match="expected"):
            bring(bench, files)
    assert bench.styles == before


def test_only_a_private_page_pushes(bench):
    with pytest.raises(LineaError, match="NAMESPACE/NAME"):
        push(bench, "one", "../../somewhere", private=True)
    bench.model.is_private = False
    with pytest.raises(LineaError, match="others can reach"):
        push(bench, "one", "you/one", private=True)
