"""Options that no command could use: one line, exit code 2, before any model is loaded and any folder is made."""

from __future__ import annotations

import subprocess
import sys

import pytest

from linea_diffusion import ClipScorer, LinEASDiffusionPipeline, SteeringMaps, __version__

HUGE = str(10**400)
SHARED = {
    ("--steps", "0"): "got --steps 0: expected a whole number of at least 1",
    ("--steps", "-3"): "got --steps -3",
    ("--guidance", "nan"): "got --guidance nan: expected a finite number of at least 0",
    ("--guidance", "inf"): "got --guidance inf",
    ("--guidance", "-1"): "got --guidance -1.0",
    ("--guidance", "1e39"): "got --guidance 1e+39",
    ("--seed", "-5"): "got --seed=-5: expected a whole number from 0 to 2^63 - 1",
    ("--seed", HUGE): "got --seed=a whole number of 1329 bits",
    ("--dtype", "float8"): "got --dtype 'float8': expected one of auto, float32",
    ("--device", "gpu"): "got --device 'gpu': expected one that this machine has",
    ("--device", "meta"): "got --device 'meta'",
}
COMMANDS = {
    "generate": ("generate", "x", "--steering", "MAPS", "--out", "OUT/x.png"),
    "grid": ("grid", "x", "--steering", "MAPS", "--out", "OUT"),
    "train": ("train", "neon", "--out", "OUT"),
    "calibrate": ("calibrate", "MAPS", "--concept", "neon"),
    "evaluate": ("evaluate", "--style", "neon", "--out", "OUT"),
    "bench": ("bench", "--out", "OUT"),
    "demo": ("demo", "--out", "OUT"),
    "score": ("score", "PICTURES", "--text", "x"),
    "push": ("push", "MAPS", "x/y", "--no-samples"),
}
USERS = {
    "demo": ("--seed",),
    "score": ("--device",),
}
SINGLE = {
    ("generate", "--strength", "nan"): "got strength 'nan'",
    ("generate", "--strength", "1e39"): "got strength '1e39'",
    ("generate", "--strength", "0.5,0.50"): "of which two have one file name",
    ("grid", "--strengths", "0,inf"): "got strength '0,inf'",
    ("grid", "--strengths", ""): "got strength ''",
    ("grid", "--batch-size", "0"): "got --batch-size 0: expected a whole number of at least 1",
    ("grid", "--cell-size", "0"): "got cell_size=0",
    ("grid", "--rows", "seeds", "--seeds", "1,-1"): "got --seeds=-1",
    ("grid", "--rows", "seeds", "--seeds", "1,1"): "expected each once",
    ("grid", "--rows", "seeds", "--seeds", "1.5"): "expected whole numbers",
    ("grid", "--against", "MAPS", "--row-strengths", "x"): "got strength 'x'",
    ("train", "--set", "seed=-5"): "got seed=-5: expected a whole number from 0 to 2^63 - 1",
    ("train", "--set", f"seed={HUGE}"): "got seed=a whole number of 1329 bits",
    ("train", "--set", f"strengths=[{HUGE}]"): "got strengths=[a whole number of 1329 bits]",
    ("train", "--set", "call_arguments=5"): "got call_arguments=5: expected a dict",
    ("train", "--set", "guidance_scale=1e999"): "got guidance_scale=inf",
    ("train", "--set", "step_bins=" + "[" * 5000): "got step_bins=",
    ("train", "--lr", "nan"): "got lr=nan",
    ("push", "--prompt", "a heart"): "got --prompt and --no-samples",
    ("train", "--iterations", "0"): "got iterations=0",
    ("train", "--sparsity", "1"): "got sparsity=1",
    ("train", "--modules", "unet.("): "got module pattern 'unet.(': expected a preset or an ending",
    ("train", "--modules", " "): "got module pattern ' '",
    ("train", "--batch-size", "1"): "got batch_size=1",
    ("train", "--checkpoint-every", "0"): "got --checkpoint-every 0: expected a whole number of at least 1",
    ("calibrate", "--points", "2"): "got --points 2: expected a whole number of at least 3",
    ("evaluate", "--count", "0"): "got --count 0",
    ("evaluate", "--strengths", "0.5,1"): "expected strengths that ascend from 0",
    ("evaluate", "--strengths", "0,nan,1"): "got strength '0,nan,1'",
    ("evaluate", "--methods", "lineas,linas"): "got method 'linas': expected one of",
    ("bench", "--rounds", "0"): "got rounds=0",
    ("bench", "--height", "-8"): "got height=-8",
    ("score", "--clip-set", "batch_size=0"): "got batch_size=0",
    ("score", "--clip-set", "background=rosy"): "got colour 'rosy'",
}
CASES = [
    (name, option, message)
    for option, message in SHARED.items()
    for name in COMMANDS
    if name not in USERS or option[0] in USERS[name]
] + [(name, option, message) for (name, *option), message in SINGLE.items()]


@pytest.mark.parametrize(("name", "option", "message"), CASES, ids=[f"{c[0]} {' '.join(c[1])[:40]}" for c in CASES])
def test_refused_at_once(linea, tmp_path, monkeypatch, random_maps, name, option, message):
    def load(*_, **__):
        raise AssertionError("nothing may be loaded for options that no command could use")

    monkeypatch.setattr(LinEASDiffusionPipeline, "from_pretrained", load)
    monkeypatch.setattr("linea_diffusion.scoring.clip_scorer.load_clip", load)
    monkeypatch.setattr(SteeringMaps, "from_pretrained", lambda *_, **__: random_maps)
    (tmp_path / "PICTURES").mkdir()
    (tmp_path / "PICTURES" / "a.png").touch()
    command = [part.replace("OUT", str(tmp_path / "OUT")) for part in COMMANDS[name]]
    command = [str(tmp_path / part) if part == "PICTURES" else part for part in command]
    code, out, err = linea(*command, *option)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("linea: ")
    assert message in err
    assert len(err) < 400
    assert not (tmp_path / "OUT").exists()


def test_what_can_be_used_passes(linea, tmp_path):
    assert ClipScorer(background="#fff").background == "#fff"
    options = ("--steps", "1", "--guidance", "0", "--seed", str(2**63 - 1), "--strength", "0")
    assert linea("generate", "a red heart", "--out", tmp_path / "x.png", *options)[0] == 0


@pytest.mark.parametrize(
    "command", ["demo", "train neon", "generate x", "grid x", "evaluate", "bench", "batch x.txt", "score x"]
)
@pytest.mark.parametrize("given", [("--out", ""), ("--out", " "), ("--out=",)])
def test_an_empty_name_is_no_folder(linea, tmp_path, monkeypatch, command, given):
    monkeypatch.chdir(tmp_path)
    code, _, err = linea(*command.split(), *given)
    assert (code, err.count("\n")) == (2, 1)
    assert "empty name" in err
    assert not list(tmp_path.iterdir())


def test_a_long_name_does_not_fill_the_screen(linea):
    code, _, err = linea("info", "n" * 5000)
    assert code == 2
    assert len(err) < 1100
    assert err.startswith("linea: got steering 'nnn")
    assert err.rstrip().endswith("a name that the Hub allows")


def test_names_are_known_before_anything_heavy_is_imported():
    """A mistyped concept or method is an error at once."""
    light = "import sys, linea_diffusion.concepts.concept, linea_diffusion.evaluation.method_names as names"
    heavy = "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules), names"
    subprocess.run([sys.executable, "-c", f"{light}; {heavy}"], check=True)


def test_the_version_is_told_without_loading_anything(linea):
    code, out, _ = linea("--version")
    assert code == 0
    assert out.splitlines()[0] == f"linea-diffusion {__version__}"
    assert "torch " in out
