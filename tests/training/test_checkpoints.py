"""States on disk: whole or not at all, one training at a time, and only for the very same training."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from linea_diffusion.errors import LineaError
from linea_diffusion.training.state.checkpoints import Checkpoints, claimed

FACTS = {"concept": "neon", "training": {"lr": 0.1, "seed": 0}, "dtype": {"unet": "float32"}, "weights": "ab"}
TENSORS = {"parameter.0": torch.arange(3.0), "optimizer.0.step": torch.tensor(2.0)}


def _full(monkeypatch, at: int) -> None:
    """From the n-th file on the disk is full."""
    real, count = Path.write_bytes, [0]

    def write(path, content):
        count[0] += 1
        if count[0] >= at:
            real(path, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", write)


def test_the_newest_state_comes_back_and_older_ones_go(tmp_path):
    states = Checkpoints(tmp_path / "states", FACTS)
    assert states.load() is None
    for losses in ([1.0], [1.0, 0.5]):
        states.save(TENSORS, losses)
    tensors, losses = states.load()
    assert losses == [1.0, 0.5]
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert [path.name for path in states.folder.iterdir()] == ["after-00000002"]


@pytest.mark.parametrize("at", [1, 2])
def test_a_full_disk_is_one_line_and_the_state_before_stays(tmp_path, monkeypatch, at):
    states = Checkpoints(tmp_path, FACTS)
    states.save(TENSORS, [1.0])
    with monkeypatch.context() as patch:
        _full(patch, at)
        with pytest.raises(LineaError, match=r"No space left on device.*make room") as caught:
            states.save(TENSORS, [1.0, 0.5])
    assert "\n" not in str(caught.value)
    assert states.load()[1] == [1.0]
    assert [path.name for path in tmp_path.iterdir()] == ["after-00000001"], "nothing half written takes room"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"concept": "mosaic"}, "concept .'neon' there, 'mosaic' now."),
        ({"training": {"lr": 0.2, "seed": 0}}, r"training \(lr: 0.1 there, 0.2 now\)"),
        ({"dtype": {"unet": "bfloat16"}}, r"dtype \(unet: 'float32' there, 'bfloat16' now\)"),
        ({"weights": "cd"}, "weights"),
        ({"libraries": {"torch": "2.14"}}, "libraries"),
    ],
)
def test_a_state_of_another_training_is_refused_with_what_differs_and_never_removed(tmp_path, change, message):
    Checkpoints(tmp_path, FACTS).save(TENSORS, [1.0])
    other = Checkpoints(tmp_path, {**FACTS, **change})
    with pytest.raises(LineaError, match=message):
        other.load()
    other.remove()
    assert Checkpoints(tmp_path, FACTS).load() is not None


def test_a_state_from_before_a_setting_goes_on_where_the_setting_changes_nothing(tmp_path):
    Checkpoints(tmp_path, FACTS).save(TENSORS, [1.0])
    with_it = {share: {**FACTS, "training": {**FACTS["training"], "map_dropout": share}} for share in (0.0, 0.5)}
    assert Checkpoints(tmp_path, with_it[0.0]).load()[1] == [1.0]
    with pytest.raises(LineaError, match=r"map_dropout: 0.0 there, 0.5 now"):
        Checkpoints(tmp_path, with_it[0.5]).load()


@pytest.mark.parametrize("content", [b"torn", b"", b"[]", b"{}", b"[" * 100_000, b'{"losses": 3, "identity": {}}'])
def test_damage_is_one_line(tmp_path, content):
    states = Checkpoints(tmp_path, FACTS)
    states.save(TENSORS, [1.0])
    (tmp_path / "after-00000001" / "state.json").write_bytes(content)
    with pytest.raises(LineaError, match="damaged training state") as caught:
        states.load()
    assert len(str(caught.value)) < 1000


def test_only_states_are_removed(tmp_path):
    """Whoever names a folder with other files in it keeps them."""
    (tmp_path / "thesis.txt").write_text("mine")
    states = Checkpoints(tmp_path, FACTS)
    states.save(TENSORS, [1.0])
    states.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "thesis.txt").unlink()
    states.save(TENSORS, [1.0])
    states.remove()
    assert not tmp_path.exists()


def _refused(folder: Path) -> bool:
    try:
        with claimed(folder):
            return False
    except LineaError as error:
        return "another training is at work" in str(error)


def test_one_training_at_a_time(tmp_path):
    folder, others = tmp_path / "states", []
    with claimed(folder):
        with claimed(folder):
            pass
        thread = threading.Thread(target=lambda: others.append(_refused(folder)))
        thread.start()
        thread.join()
    assert others == [True], "the same thread may claim it again, and another may not in between"
    assert not folder.exists(), "nothing is left of a claim"


def test_a_killed_training_lets_go(tmp_path):
    """The other process holds the lock with nothing but flock, as the library does."""
    (tmp_path / ".training-lock").touch()
    holds = (
        "import fcntl,sys; f=open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holds, tmp_path / ".training-lock"],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline()
    assert _refused(tmp_path)
    process.kill()
    process.communicate()
    assert not _refused(tmp_path)


def test_facts_that_are_no_json_are_compared_as_text(tmp_path):
    Checkpoints(tmp_path, {"size": Path("a")}).save(TENSORS, [1.0])
    assert Checkpoints(tmp_path, {"size": "a"}).load() is not None
    assert json.loads((tmp_path / "after-00000001" / "state.json").read_text())["identity"] == {"size": "a"}
