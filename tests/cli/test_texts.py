"""Language models on the command line: train and generate, and what is for pictures alone."""

from __future__ import annotations

import json

import pytest

from linea_diffusion import LinEASLanguageModel
from linea_diffusion.evaluation.records import read_records
from linea_diffusion.scoring.figures import TEXTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the maps are that the first test learns."""
    return tmp_path_factory.mktemp("texts") / "friendly"


def test_train_learns_and_generate_finds_model_and_task_in_the_maps(linea, folder):
    code, out, err = linea("train", "friendly", "--task", "text", "--iterations", 2, "--out", folder)
    assert code == 0, err
    assert "9 maps" in out
    assert "--strength 0,0.5,1" in out + err
    said = json.loads((folder / "config.json").read_text())
    assert (said["task"], said["base_model"], said["concept"]) == ("text", "wordland-lm", "friendly")
    prompt, file = "yeah , the soup and the cake .", folder.parent / "texts.txt"
    code, out, _ = linea(
        "generate", prompt, "--steering", folder, "--strength", "0,50", "--new-tokens", 6, "--out", file, "--seed", 3
    )
    assert code == 0
    assert file.read_text() == out
    plain, steered = out.splitlines()
    model = LinEASLanguageModel.from_pretrained("wordland-lm")
    assert plain == f"0: {prompt} {model.generate(prompt, seed=3, do_sample=True, max_new_tokens=6)[0]}"
    assert steered.startswith(f"50: {prompt}")
    assert steered.removeprefix("50: ") != plain.removeprefix("0: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "friendly", "--model", "wordland-lm", "--out", "OUT", "--steps", "3"), "num_inference_steps"),
        (("train", "friendly", "--task", "text", "--out", "OUT", "--scheduler", "euler"), "they are for pictures"),
        (("train", "friendly", "--task", "text", "--out", "OUT", "--set", "guidance_scale=3.0"), "no denoising steps"),
        (("train", "friendly", "--task", "song", "--out", "OUT"), "image, text"),
        (("generate", "so ben", "--model", "wordland-lm", "--mask", "mask.png"), "it is for pictures"),
        (("generate", "so ben", "--model", "wordland-lm", "--steps", "3"), "num_inference_steps for a language model"),
        (("generate", "a red heart", "--new-tokens", "3"), "--new-tokens 3 for a picture"),
        (("evaluate", "--style", "friendly", "--task", "text", "--dry-run"), "they are for pictures"),
        (("generate", "so ben", "--model", "./nowhere", "--task", "text"), "no such folder"),
    ],
)
def test_what_is_for_pictures_is_refused(linea, tmp_path, arguments, message):
    code, out, err = linea(*(tmp_path / "maps" if one == "OUT" else one for one in arguments))
    assert code != 0
    assert message in out + err


def test_evaluate_judges_texts_and_keeps_their_figures(linea, tmp_path):
    options = ("--methods", "mean-shift,prompting", "--strengths", "0,1", "--count", 6)
    code, out, err = linea("evaluate", "--task", "text", "--style", "friendly", *options, "--out", tmp_path)
    assert code == 0, err
    records = read_records(tmp_path / "evaluation.csv")
    assert {one.method for one in records} == {"mean-shift", "prompting"}
    assert all(one.scores.keys() == TEXTS.keys() for one in records)
    assert any(one.scores["truth_source"] for one in records if one.strength == 0)
    assert len({one.prompt for one in records}) == 6
    assert "| friendly | mean-shift | 1 |" in out
    assert (tmp_path / "maps" / "friendly" / "mean-shift" / "steering.safetensors").exists()
    assert "At equal quality" in out
    report = (tmp_path / "report.html").read_text()
    prompts = list(dict.fromkeys(one.prompt for one in records))
    assert all(report.count(f"<caption>friendly: {prompt}") == 1 for prompt in prompts)
    model = LinEASLanguageModel.from_pretrained("wordland-lm")
    written = model.generate(prompts, seed=1000, do_sample=True, max_new_tokens=32)
    assert all(text.strip() in report for text in written)
    code, _, err = linea("evaluate", "--task", "text", "--style", "neon", *options, "--out", tmp_path / "other")
    assert code != 0
    assert "expected --prompts with a text file" in err


def test_a_dry_run_says_what_a_training_takes(linea, tmp_path):
    code, out, _ = linea("train", "formal", "--task", "text", "--out", tmp_path / "maps", "--dry-run")
    assert code == 0
    assert "learn" in out
    assert not (tmp_path / "maps").exists()
