"""Signals at known points of every command: one line, the right exit code, nothing lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from linea_diffusion import LinEASDiffusionPipeline, SteeringMaps, TrainingConfig, cli
from linea_diffusion.cli import commands
from linea_diffusion.cli.options.sessions import Machine
from linea_diffusion.training.iteration import Batches
from linea_diffusion.training.state.optimizer import MapOptimizer
from linea_diffusion.training.state.stopping import STOP, Stopped, StopRequest

BOTH = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
TRAIN = (
    "--iterations", 4, "--steps", 1, "--batch-size", 4, "--modules", "text-attention", "--checkpoint-every", 1,
    "--set", "stretch=1.0", "--set", "calibrate=False", "--set", "use_levels=False",
)  # fmt: skip


def _raising(monkeypatch, owner, name: str, number: int, *, at: int = 0, after: bool = False) -> None:
    """Let a signal come in the n-th call of a function, before or after its work."""
    real, calls = getattr(owner, name), []

    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) == at + 1 and not after:
            signal.raise_signal(number)
        result = real(*args, **kwargs)
        if len(calls) == at + 1 and after:
            signal.raise_signal(number)
        return result

    monkeypatch.setattr(owner, name, call)


def _last(err: str) -> str:
    assert "Traceback" not in err
    assert "ignored" not in err
    return err.splitlines()[-1]


def _states(folder: Path) -> list[str]:
    return [path.name for path in (folder / "checkpoint").glob("*")]


@pytest.fixture(autouse=True)
def handlers():
    """Commands leave the handlers as they were."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@BOTH
@pytest.mark.parametrize(
    "command",
    [
        ("train", "neon", "--out", "OUT"),
        ("demo", "--out", "OUT"),
        ("generate", "a heart", "--out", "OUT/a.png"),
        ("grid", "a heart", "--steering", "MAPS", "--out", "OUT"),
        ("evaluate", "--style", "neon", "--out", "OUT"),
        ("calibrate", "MAPS"),
        ("bench", "--out", "OUT"),
        ("batch", "JOBS", "--out", "OUT"),
    ],
)
def test_while_models_load_every_command_ends_with_one_line(
    linea, tmp_path, monkeypatch, random_maps, command, number, code
):
    SteeringMaps.of(dict(random_maps.named_maps()), {"concept": "neon"}).save_pretrained(tmp_path / "maps")
    (tmp_path / "jobs.txt").write_text("a heart\n")
    places = {"OUT": tmp_path / "out", "MAPS": tmp_path / "maps", "JOBS": tmp_path / "jobs.txt"}
    _raising(monkeypatch, LinEASDiffusionPipeline, "from_pretrained", number)
    arguments = [str(places.get(word, word)).replace("OUT", str(tmp_path / "out")) for word in command]
    status, out, err = linea(*arguments)
    assert (status, out) == (code, "")
    assert _last(err) == f"linea: stopped by {signal.Signals(number).name}"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and ".linea" not in path.parts]


@BOTH
def test_training_keeps_what_is_learned(linea, tmp_path, monkeypatch, number, code):
    _raising(monkeypatch, MapOptimizer, "step", number, at=2)
    status, _, err = linea("train", "neon", "--out", tmp_path, *TRAIN)
    assert status == code
    assert _last(err) == (
        f"linea: training stopped after 3 of 4 iterations; the maps learned so far are in {tmp_path}, and the same "
        "command goes on"
    )
    assert SteeringMaps.from_pretrained(tmp_path).metadata["stopped_after"] == 3
    assert _states(tmp_path) == ["after-00000003"]
    monkeypatch.undo()
    # While targets are recorded anew nothing is touched.
    _raising(monkeypatch, Batches, "record", number)
    status, out, err = linea("train", "neon", "--out", tmp_path, *TRAIN)
    assert (status, out, _last(err)) == (code, "", f"linea: stopped by {signal.Signals(number).name}")
    assert _states(tmp_path) == ["after-00000003"]
    monkeypatch.undo()
    # While the maps are saved the saving ends first.
    _raising(monkeypatch, Path, "replace", number, at=1)
    status, out, err = linea("train", "neon", "--out", tmp_path, *TRAIN)
    assert (status, _last(err)) == (code, f"linea: stopped by {signal.Signals(number).name}")
    assert "maps with a support" in out
    assert "stopped_after" not in SteeringMaps.from_pretrained(tmp_path).metadata
    assert not (tmp_path / "checkpoint").exists()


def test_the_demonstration_keeps_what_is_learned(linea, tmp_path, monkeypatch):
    quick = TrainingConfig(iterations=4, num_inference_steps=1, batch_size=4, target_modules="text-attention")
    monkeypatch.setattr("linea_diffusion.training.recipes.recipe_for", lambda pipe, concept, seed: quick)
    _raising(monkeypatch, MapOptimizer, "step", signal.SIGTERM, at=1)
    status, out, err = linea("demo", "--out", tmp_path)
    assert (status, len(out.splitlines())) == (143, 1), "what is saved is told"
    assert _last(err).startswith("linea: training stopped after 2 of 4 iterations")
    assert SteeringMaps.from_pretrained(tmp_path / "maps").metadata["stopped_after"] == 2
    assert _states(tmp_path / "maps") == ["after-00000002"], "the same command goes on"
    assert not (tmp_path / "grid.png").exists()


def test_before_anything_is_learned_nothing_is_written(linea, tmp_path, monkeypatch):
    _raising(monkeypatch, MapOptimizer, "__init__", signal.SIGINT)
    status, out, err = linea("train", "neon", "--out", tmp_path / "out", *TRAIN)
    assert (status, out) == (130, "")
    assert not list((tmp_path / "out").iterdir())
    _last(err)


def test_a_second_signal_ends_at_once(linea, tmp_path, monkeypatch):
    _raising(monkeypatch, MapOptimizer, "step", signal.SIGINT, at=1)
    _raising(monkeypatch, MapOptimizer, "state", signal.SIGTERM, at=2)
    status, out, err = linea("train", "neon", "--out", tmp_path, *TRAIN)
    assert (status, out, _last(err)) == (130, "", "linea: stopped at once")
    assert _states(tmp_path) == ["after-00000001"]


def test_a_failing_last_save_keeps_the_state(linea, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    code, _, err = linea("train", "neon", "--out", tmp_path, *TRAIN)
    assert (code, _states(tmp_path)) == (2, ["after-00000004"])
    assert "make room" in _last(err)
    monkeypatch.undo()
    monkeypatch.setattr(MapOptimizer, "step", full)  # nothing is learned again
    assert linea("train", "neon", "--out", tmp_path, *TRAIN)[0] == 0
    assert not (tmp_path / "checkpoint").exists()


class _Swallower:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def _swallow() -> None:
    swallower = _Swallower()
    del swallower
    signal.pause()  # what goes on, until the signal is raised again


def _turned() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except Stopped as stopped:
        raise RuntimeError("a library's own error") from stopped


def _hidden() -> None:
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("kind", [_swallow, _turned, _hidden])
def test_whatever_a_library_makes_of_it_is_one_line(linea, monkeypatch, kind):
    monkeypatch.setattr(Machine, "load", lambda *_: kind() or _none())
    code, _, err = linea("modules", "shapeland-unet")
    assert (code, _last(err)) == (130, "linea: stopped by SIGINT")


def _none():
    raise SystemExit(0)


def test_a_full_disk_is_one_line_in_every_command(linea, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "a.png")

    monkeypatch.setattr(Machine, "load", full)
    code, _, err = linea("modules", "shapeland-unet")
    assert code == 2
    assert _last(err).startswith("linea: got [Errno 28] No space left on device: 'a.png'")


def test_other_errors_are_not_hidden(linea, monkeypatch):
    monkeypatch.setattr(Machine, "load", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        linea("modules", "shapeland-unet")


def test_a_request_says_once_what_came_first():
    request = StopRequest()
    request.gentle = True
    with request.on_signals():
        request.gentle = True
        assert not request()
        signal.raise_signal(signal.SIGTERM)
        assert (request(), request.exit_code) == (True, 143)
        with pytest.raises(Stopped, match="at once"):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL, "a third one kills"


def test_gentleness_ends_with_the_work_that_looks():
    request = StopRequest()
    request.gentle = True
    request.end_gently("nothing came")
    assert not request.gentle
    request.signal = signal.SIGTERM
    with pytest.raises(Stopped, match="it came before"):
        request.end_gently("it came before")


def test_handlers_are_set_before_anything_heavy_is_imported():
    code = (
        "import sys, linea_diffusion.cli\n"
        "heavy = {'typer', 'click', 'torch', 'diffusers', 'transformers', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert cli.app is commands.app
    assert not STOP()
