"""`linea batch` as its user meets it."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from linea_diffusion import LineaError
from linea_diffusion.cli.batching import Many
from linea_diffusion.cli.options.machines import Machine
from linea_diffusion.cli.options.steering import Steered

from ..batches import rows


@pytest.fixture(scope="module")
def neon(short_maps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps") / "neon"
    short_maps.save_pretrained(folder)
    return folder


def test_a_file_becomes_a_folder_of_images(linea, neon, tmp_path):
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"prompt": "a {red,blue} heart"}\n{"prompt": "a fish", "strength": 0.5, "steering": "neon"}\n')
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    argv = ["batch", jobs, "--out", out, "--steering", neon, "--strengths", "0:1:2", "--steps", "1", "--log", "none"]
    code, out_text, _ = linea(*argv, "--dry-run")
    assert code == 0
    assert out_text.startswith("5 images in 1 batches; 0 there already")
    assert linea(*argv, "--dry-run", "--batch-size", "2")[1].startswith("5 images in 3 batches")
    assert linea(*argv, "--dry-run", "--window", "1")[1].startswith("5 images in 5 batches")
    assert linea(*argv, "--dry-run", "--images", "3")[1].startswith("15 images")
    code, out_text, shown = linea(*argv, "--dry-run", "--calibrated")  # these maps never were
    assert (code, out_text[:8]) == (1, "0 images")
    assert "without a calibration" in shown
    assert not out.exists()
    code, out_text, _ = linea(*argv, "--grid", sheet, "--score", "--format", "webp")
    assert code == 0
    assert out_text.startswith("5 images made in")
    assert f"{out / 'metadata.jsonl'}: 5 images" in out_text
    made = rows(out)
    assert [row["strength"] for row in made] == [0, 1, 0, 1, 0.5]
    assert all(row["file_name"].endswith(".webp") and row["steering"] == ["neon"] for row in made)
    assert all(0 < row["clip_prompt_cosine"] < 1 and 0 <= row["clip_style_probability"] <= 1 for row in made)
    with Image.open(sheet) as image:
        assert image.width > 3 * 128
        assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 20
    code, out_text, _ = linea(*argv, "--format", "webp", "--seed", "1")
    assert out_text.startswith("5 images made in")
    code, out_text, _ = linea(*argv, "--format", "webp")
    assert "0 images made" in out_text
    assert "5 there already" in out_text


def test_the_progress_bar_counts_images_and_failures(linea, tmp_path):
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("a heart\na {bad\na fish\na heart\n")
    code, out_text, shown = linea("batch", jobs, "--out", tmp_path / "out", "--steps", "1")
    assert code == 1
    assert "4/4" in shown
    assert "images: 4/4 images" in shown
    assert "failures=1" in shown
    assert "1 asked for more than once, 0 failed, 1 bad lines" in out_text
    assert rows(tmp_path / "out", "failures.jsonl")[0]["line"] == 2


def test_the_log_for_machines(linea, tmp_path):
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("prompt,seed,clip_skip\na heart,1,\na fish,2,77\na star,,x\n")
    code, _, log = linea("batch", jobs, "--out", tmp_path / "out", "--steps", "1", "--log", "json")
    assert code == 1
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    kinds = [line["event"] for line in lines]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert sorted(kinds[1:-1]) == ["failure", "failure", "image"]
    assert all("time" in line for line in lines)
    failure = next(line for line in lines if line["event"] == "failure")
    assert failure["line"] in (3, 4)
    assert failure["reason"].startswith("the pipeline raised")
    assert lines[-1]["done"] == 1


def test_retrying_only_when_asked(linea, tmp_path):
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"prompt": "a fish", "clip_skip": 77}\n{"prompt": "a heart"}\n')
    argv = ["batch", jobs, "--out", tmp_path / "out", "--steps", "1", "--log", "json"]
    for more, tried in ((), True), ((), False), (("--retry-failed",), True):
        code, out_text, log = linea(*argv, *more)
        assert code == 1
        assert ('"event": "failure"' in log) is tried
        assert "1 failed, 0 bad lines" in out_text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["none.jsonl"], "expected a readable jobs file"),
        (["jobs.txt", "--out", "x" * 300], "File name too long"),
        (["jobs.txt", "--guidance", "nan"], "got --guidance nan"),
        (["jobs.txt", "--set", "seed=-5", "--images", "2"], "seed -5"),
        (["jobs.txt", "--set", "denoising_strength=0.5"], "StableDiffusionPipeline has no use for"),
        (["jobs.txt", "--strict"], "line 2: got 'a {bad'"),
        (["jobs.txt", "--format", "gif"], "png, jpg, webp"),
        (["jobs.txt", "--log", "xml"], "bar, json, none"),
        (["jobs.txt", "--batch-size", "many"], "or auto"),
        (["jobs.txt", "--strengths", "0:1"], "FIRST:LAST:COUNT"),
        (["jobs.txt", "--set", "guidance"], "FIELD=VALUE"),
        (["jobs.txt", "--set", "wdth=3"], "nearest: width"),
        (["jobs.txt", "--steering", "no/maps"], "no/maps"),
        (["jobs.txt", "--grid", "out/images/x.png"], "outside"),
        (["jobs.txt", "--grid", "sheet.txt"], "ending in one of"),
    ],
)
def test_mistakes_are_one_line(linea, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.txt").write_text("a heart\na {bad\n")
    code, _, shown = linea("batch", "--out", "out", "--steps", "1", *argv)
    assert code == 2
    assert message in shown.splitlines()[-1]
    assert shown.splitlines()[-1].startswith("linea: ")


def test_fields_given_by_set(linea, tmp_path):
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("a heart\n")
    for number, more in enumerate([[], ["--set", "guidance=3.0"], ["--size", "32"], ["--negative-prompt", "red",
                                   "--set", "guidance=3.0"]]):  # fmt: skip
        out = tmp_path / str(number)
        assert linea("batch", jobs, "--out", out, "--steps", "1", "--log", "none", *more)[0] == 0
    assert len({rows(tmp_path / str(number))[0]["file_name"] for number in range(4)}) == 4
    assert rows(tmp_path / "2")[0]["width"] == 32
    assert rows(tmp_path / "3")[0]["negative_prompt"] == "red"


def test_actors_have_the_device_and_the_dtype_that_fit_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    many, here = Many(ray="auto", gpus=1.0), Machine()
    assert vars(many.settled(here, "shapeland-unet")) == vars(Machine("cuda", "float32"))
    assert vars(many.settled(Machine(dtype="bfloat16"), "some/model")) == vars(Machine("cuda", "bfloat16"))
    with pytest.raises(LineaError, match="expected --dtype with what they compute in"):
        many.settled(here, "some/model")
    cluster = many.cluster(Steered(), Machine("cuda", "float32"))
    assert (cluster.address, cluster.gpus, cluster.cpus, cluster.actors) == ("auto", 1.0, 1.0, None)
    alone = Many(ray="local").settled(here, "some/model")
    assert (alone.device, Many(ray="local").cluster(Steered(), alone).gpus) == ("cpu", 0.0)
