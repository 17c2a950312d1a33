"""What the doctor says of a machine that has all, and of one that lacks something."""

from __future__ import annotations

from importlib.metadata import version

import torch

from linea_diffusion.cli.doctor import packages
from linea_diffusion.cli.doctor.memory import batch_facts, memory_of
from linea_diffusion.scoring.clip_weights import clip_weights_on_disk

MODEL = "shapeland-unet"


def test_it_says_versions_machine_weights_extras_and_the_largest_batch(linea):
    code, out, err = linea("doctor", "--device", "cpu")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) < 45
    for words in (
        f"torch            {version('torch')}",
        "free of",
        "--clip shapeland-clip",
        "largest batch",
        "--install-",
    ):
        assert words in out


def test_what_cannot_be_told_is_a_line_and_no_error(linea, tmp_path):
    code, out, _ = linea("doctor", tmp_path)
    assert code == 0
    assert f"unknown  got model '{tmp_path}', whose shapes cannot be told" in out


def test_an_extra_that_is_missing_is_named_with_its_command(monkeypatch):
    have = {"peft": None, "gradio": "5.1"}
    monkeypatch.setattr(packages, "version_of", lambda name: have.get(name, "9999"))
    missing = packages.missing_extras()
    assert missing["lora"] == ["peft>=0.17"]
    assert missing["studio"] == ["gradio>=6 (here 5.1)"]
    assert missing["templates"] == []
    assert missing.keys() == packages.EXTRAS.keys()


def test_clip_weights_are_found_where_open_clip_keeps_them(tmp_path):
    assert clip_weights_on_disk(tmp_path) == ["shapeland-clip"]
    repository = tmp_path / "models--timm--resnet50_clip.openai"
    (repository / "snapshots" / "a1").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a1")
    (repository / "snapshots" / "a1" / "open_clip_model.safetensors").touch()
    # and not RN50/openai, whose activation is another than that of these weights
    assert clip_weights_on_disk(tmp_path) == ["shapeland-clip", "RN50-quickgelu/openai"]


def test_where_not_even_one_picture_fits_it_says_so():
    assert "not even one picture in 90% of 1.0 MiB" in batch_facts(MODEL, torch.float32, 2**20, {})["largest batch"]


def test_free_memory_is_less_than_all():
    free, total = memory_of("cpu")
    assert 0 < free < total
