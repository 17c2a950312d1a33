"""Commands that learn and compare: settings, kill and resume, interrupt, calibrate, evaluate."""

from __future__ import annotations

import csv
import fcntl
import json
import signal
import subprocess
import sys

import pytest
import torch
from PIL import Image

from linea_diffusion import SteeringMaps

from ..conftest import NEON

QUICK = (
    "--steps", "1", "--batch-size", "4", "--modules", "text-attention",
    "--set", "stretch=1.0", "--set", "calibrate=False", "--set", "use_levels=False",
)  # fmt: skip


def test_every_setting_is_reached(linea, tmp_path):
    settings = (
        "--set",
        "optimizer=sgd",
        "--set",
        "pooling=tokens",
        "--set",
        "tokens_per_sample=7",
        "--set",
        "strengths=(1.0, 0.5)",
        "--set",
        "l1=1e-5",
        "--set",
        "rank=0",
        "--set",
        "pairing=law",
    )
    options = ("--iterations", 2, "--sparsity", 0.5, "--micro-batch-size", 2, *QUICK)
    code, out, _ = linea("train", "neon", "--out", tmp_path / "maps", *options, *settings)
    assert code == 0
    assert "support of 50.0%" in out
    trained = json.loads((tmp_path / "maps" / "config.json").read_text())["training"]
    assert (trained["rank"], trained["pairing"]) == (0, "law")
    expected = {"optimizer": "sgd", "tokens_per_sample": 7, "strengths": [1.0, 0.5], "l1": 1e-5, "micro_batch_size": 2}
    assert {key: trained[key] for key in expected} == expected
    assert not (tmp_path / "maps" / "checkpoint").exists()
    out = linea("info", tmp_path / "maps")[1]
    assert "not zero (50.00%)" in out
    assert "text_encoder" in out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("learning_rate=1", "KEY one of iterations, lr"),
        ("lr", "KEY=VALUE"),
        ("lr=-1", "lr=-1"),
        ("lr=fast", "lr='fast'"),
        ("strengths=1.0", "strengths=1.0"),
        ("gradient_checkpointing=yes", "True or False"),
    ],
)
def test_impossible_settings_are_one_line(linea, tmp_path, setting, message):
    code, _, err = linea("train", "neon", "--out", tmp_path / "maps", "--set", setting)
    assert code == 2
    assert message in err.splitlines()[-1]


def _trained(server, folder, **order) -> int:
    """The exit code of a training of its own process; each of its states needs two calls of fsync, the maps three."""
    options = ["--iterations", "12", "--checkpoint-every", "1", "--preview", "0", *QUICK]
    return server.run(argv=["train", "neon", "--out", str(folder), *options], log=f"{folder}.txt", **order)


def _numbers(folder) -> dict[str, torch.Tensor]:
    return SteeringMaps.from_pretrained(folder).numbers()


def test_killed_while_states_and_maps_are_written_it_ends_with_the_same_maps(server, tmp_path):
    assert _trained(server, tmp_path / "whole") == 0
    killed = tmp_path / "killed"
    for at, left in ((4, 1), (13, 7), (12, 12)):
        assert _trained(server, killed, die_at=at) == -signal.SIGKILL
        assert not (killed / "config.json").exists()
        assert max(path.name for path in (killed / "checkpoint").glob("after-*")) == f"after-{left:08d}"
    assert _trained(server, killed) == 0
    assert not (killed / "checkpoint").exists()
    ours, theirs = _numbers(killed), _numbers(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_what_is_learned_also_in_the_background_of_a_script(server, tmp_path, number, code):
    """`sh -c 'linea train ... &'` starts it with SIGINT ignored."""
    folder = tmp_path / "maps"
    assert _trained(server, folder, ignored=[number], signal_at=[6, number]) == code
    assert "linea: training stopped after 3 of 12" in (tmp_path / "maps.txt").read_text().splitlines()[-1]
    maps = SteeringMaps.from_pretrained(folder)
    assert maps.metadata["stopped_after"] == len(maps.metadata["losses"]) == 3
    assert [path.name for path in (folder / "checkpoint").iterdir()] == ["after-00000003"], "the same command goes on"


def test_a_second_training_in_a_folder_is_refused_before_models_load(linea, tmp_path, monkeypatch):
    monkeypatch.setattr("linea_diffusion.cli.options.sessions.Machine.load", None)
    (tmp_path / "checkpoint").mkdir()
    with (tmp_path / "checkpoint" / ".training-lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        code, out, err = linea("train", "neon", "--out", tmp_path)
    assert (code, out) == (2, "")
    assert "another training is at work" in err


def test_training_that_diverges_is_one_line_and_keeps_maps(linea, tmp_path):
    code, _, err = linea("train", "neon", "--out", tmp_path, "--iterations", 4, "--lr", 1e30, *QUICK)
    assert code == 2
    assert "in iteration 1" in err.splitlines()[-1]
    assert all(bool(value.isfinite().all()) for value in _numbers(tmp_path).values())


def test_calibrate_then_use(linea, tmp_path, random_maps):
    from linea_diffusion import LinEASDiffusionPipeline, TrainingConfig, train_steering_maps

    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet")
    config = TrainingConfig(
        iterations=14,
        batch_size=8,
        num_inference_steps=3,
        target_modules="attention",
        lr=0.05,
        sparsity=0,
        strengths=(1.0,),
        stretch=1.0,
        calibrate=False,
    )  # fmt: skip
    train_steering_maps(pipe, NEON, config).save_pretrained(tmp_path / "neon")
    code, out, err = linea("calibrate", tmp_path / "neon", "--points", 3, "--steps", 4)
    assert code == 0, err
    assert out.splitlines()[-1].split() == ["1.000", "1.000"]
    curve = json.loads((tmp_path / "neon" / "config.json").read_text())["calibration"]
    assert curve["strengths"] == [0.0, 0.5, 1.0]
    assert "calibration: " in linea("info", tmp_path / "neon")[1]
    options = ("--steering", tmp_path / "neon", "--strength", 0.5, "--steps", 2)
    pictures = []
    for flag in (("--no-calibrated",), (), ("--calibrated",)):
        assert linea("generate", "a red heart", *options, *flag, "--out", tmp_path / "x.png")[0] == 0
        pictures.append((tmp_path / "x.png").read_bytes())
    assert (pictures[0] == pictures[1]) == (curve["values"][1] == 0.5)
    assert pictures[1] == pictures[2]
    grids = []
    for flag in (("--no-calibrated",), ()):
        grid = ("--strengths", "0,0.5,1", "--steps", 2, *flag, "--out", tmp_path / "grid")
        assert linea("grid", "a red heart", "--steering", tmp_path / "neon", *grid)[0] == 0
        grids.append(Image.open(tmp_path / "grid" / "grid.png").tobytes())
    assert (grids[0] == grids[1]) == (curve["values"][1] == 0.5)
    code, _, err = linea("calibrate", tmp_path / "neon", "--by", "progress", "--points", 3, "--steps", 2)
    assert code == 0, err
    by = json.loads((tmp_path / "neon" / "config.json").read_text())["calibration"]
    assert by["measure"] == "progress of latents"
    code, _, err = linea("calibrate", tmp_path / "neon", "--by", "eye")
    assert (code, "expected one of clip, progress" in err) == (2, True)
    SteeringMaps.of(dict(random_maps.named_maps())).save_pretrained(tmp_path / "unnamed")
    code, _, err = linea("calibrate", tmp_path / "unnamed")
    assert code == 2
    assert "expected --source with a file of prompts" in err
    code, _, err = linea("calibrate", tmp_path / "nowhere")
    assert code == 2
    assert err.startswith("linea: ")


@pytest.mark.parametrize("options", [("--methods", "lineas"), ("--prompts", "asking.txt")])
def test_evaluate_takes_out_only_what_is_asked_for(linea, options):
    """Without --prompts nothing asks for it; "prompting" is among the methods unless they are named."""
    code, _, err = linea("evaluate", "--style", "remove-cats", *options)
    assert code == 2
    assert "takes something out" in err


def test_evaluate_fits_scores_and_reuses(linea, tmp_path, monkeypatch, random_maps):
    random_maps.save_pretrained(tmp_path / "mine")
    options = ("--count", 3, "--strengths", "0,1", "--steps", 2, "--out", tmp_path / "out")
    methods = f"mean-shift,prompting,{tmp_path / 'mine'}"
    named = ("--methods", "prompting", "--steering", f"ours={tmp_path / 'mine'}", *options[:-1], tmp_path / "named")
    assert linea("evaluate", "--style", "neon", *named)[0] == 0
    made = csv.DictReader((tmp_path / "named" / "evaluation.csv").open())
    assert {row["method"] for row in made} == {"prompting", "ours"}
    code, out, err = linea("evaluate", "--style", "neon", "--style", "mosaic", "--methods", methods, *options)
    assert code == 0, err
    assert "| mosaic | mine |" in out
    rows = list(csv.DictReader((tmp_path / "out" / "evaluation.csv").open()))
    assert len(rows) == 2 * 3 * 2 * 3
    assert {row["method"] for row in rows} == {"mean-shift", "prompting", "mine"}
    assert (tmp_path / "out" / "evaluation.md").read_text() in out
    made = (tmp_path / "out" / "maps" / "neon" / "mean-shift" / "steering.safetensors").stat().st_mtime_ns
    assert linea("evaluate", "--style", "neon", "--methods", "mean-shift", *options)[0] == 0
    assert (tmp_path / "out" / "maps" / "neon" / "mean-shift" / "steering.safetensors").stat().st_mtime_ns == made
    code, _, err = linea("evaluate", "--style", "neon", "--methods", "mean-shiff", *options)
    assert code == 2
    assert "nearest: mean-shift" in err.splitlines()[-1]
    assert linea("evaluate", "--style", "neon", "--methods", "mean-shift", *options, "--seed", 1)[0] == 0
    assert (tmp_path / "out" / "maps" / "neon" / "seed-1" / "mean-shift").is_dir(), "another seed has maps of its own"
    (tmp_path / "out" / "maps" / "mosaic" / "mean-shift").rename(tmp_path / "out" / "maps" / "neon" / "lin-act")
    for changed, message in (
        (("--methods", "lin-act"), "remove the folder"),
        (("--methods", "mean-shift", "--strengths", "0,0.5"), "1 among them"),
    ):
        code, _, err = linea("evaluate", "--style", "neon", *options, *changed)
        assert code == 2
        assert message in err.splitlines()[-1]
    methods = f"{tmp_path / 'mine'},{tmp_path / 'other' / 'mine'}"
    code, _, err = linea("evaluate", "--style", "neon", "--methods", methods, *options)
    assert code == 2
    assert "different names" in err.splitlines()[-1]
    (tmp_path / "p.txt").write_text("a red star\na purple boat\n")
    code, out, _ = linea(
        "evaluate", "--style", "neon", "--methods", "prompting", *options, "--prompts", tmp_path / "p.txt"
    )
    rows = list(csv.DictReader((tmp_path / "out" / "evaluation.csv").open()))
    assert {row["prompt"] for row in rows} == {"a purple boat"}, "a red star is learned from"


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "linea_diffusion.cli", "concepts", "neom"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "nearest: neon" in done.stderr


def test_a_style_of_ones_own_is_learned_calibrated_and_not_overwritten(linea, tmp_path):
    (tmp_path / "prompts.txt").write_text("a red heart\na blue fish\na green star\na teal house\n")
    own = ("--source", tmp_path / "prompts.txt", "--template", "{prompt}, neon", "--text", "a neon picture")
    short = ("--iterations", 1, "--steps", 1, "--no-calibrate", "--set", "warm_start=0.0")
    train = ("train", "glow", *own, *short, "--out", tmp_path / "glow")
    code, _, error = linea(*train)
    assert code == 0, error
    assert f"to turn: linea generate 'a red heart' --steering {tmp_path / 'glow'} --strength 0.7" in error
    facts = json.loads((tmp_path / "glow" / "config.json").read_text())
    assert (facts["text"], facts["source_prompts"][1]) == ("a neon picture", "a blue fish")
    code, _, error = linea(*train)
    assert code == 2
    assert "which holds maps already: expected another folder, or --overwrite" in error
    assert linea(*train, "--overwrite")[0] == 0
    code, out, error = linea("calibrate", tmp_path / "glow", "--by", "progress", "--points", 3, "--steps", 1)
    assert code == 0, error
    assert "share of the style" in out
    (tmp_path / "none.txt").write_text("one prompt alone\n")
    code, _, error = linea("calibrate", tmp_path / "glow", "--source", tmp_path / "none.txt")
    assert (code, "got 1 prompts" in error) == (2, True)
    code, _, error = linea("calibrate", tmp_path / "glow", "--text", "a picture of " + "neon " * 30)
    assert (code, "expected at most 24" in error) == (2, True)


def test_a_training_shows_pictures_of_what_it_learns(linea, tmp_path):
    code, _, err = linea("train", "neon", "--out", tmp_path / "maps", "--iterations", 2, *QUICK)
    assert code == 0
    assert f"look at {tmp_path / 'maps' / 'preview.png'}" in err
    assert Image.open(tmp_path / "maps" / "preview.png").size[0] > 3 * 192
    told = [line for line in err.splitlines() if " left" in line]
    assert len(told) == 2, "a log gets a line at the start and one at the end"
    code, _, err = linea("train", "neon", "--out", tmp_path / "none", "--iterations", 1, "--preview", 0, *QUICK)
    assert code == 0
    assert not (tmp_path / "none" / "preview.png").exists()


@pytest.mark.parametrize(
    ("command", "stages"),
    [
        (("train", "neon", "--iterations", 7), {"record": 640, "learn": 7 * 8 * 4 * 3, "reach": 320, "calibrate": 288}),
        (("demo",), {"record": 640, "learn": 80 * 8 * 4 * 3, "reach": 320, "calibrate": 288, "render": 30 * 9}),
        (
            ("evaluate", "--style", "neon", "--methods", "mean-shift,prompting", "--count", 3),
            {"fit mean-shift": 64 * 4, "evaluate neon": 3 * (1 + 8 + 1) * 9},
        ),
    ],
)
def test_a_dry_run_says_what_would_be_done_and_does_nothing(linea, tmp_path, command, stages):
    code, out, _ = linea(*command, "--out", tmp_path / "out", "--dry-run")
    assert code == 0
    for stage, passes in {**stages, "all": sum(stages.values())}.items():
        assert any(line.startswith(f"{stage} ") and f" {passes} " in line for line in out.splitlines())
    assert "Nothing was done." in out
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_what_renders_with_maps(linea, tmp_path, random_maps):
    random_maps.save_pretrained(tmp_path / "maps")
    before = {file: file.read_bytes() for file in (tmp_path / "maps").iterdir()}
    options = ("--model", "shapeland-unet", "--dry-run")
    measured = ("calibrate", tmp_path / "maps", "--concept", "neon", "--by", "progress", "--points", 5)
    code, out, _ = linea(*measured, *options)
    assert (code, f" {5 * 32 * 9} " in out) == (0, True)
    assert before == {file: file.read_bytes() for file in (tmp_path / "maps").iterdir()}
    grid = ("grid", "a red heart", "--steering", tmp_path / "maps", "--out", tmp_path / "grid", "--clip", "none")
    code, out, _ = linea(*grid, "--strength", "0:1:4", "--steps", 2, *options)
    assert (code, f" {4 * 3} " in out) == (0, True)
    assert not (tmp_path / "grid").exists()
