"""The state of an unfinished training on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save

from ...concepts.files import read_bytes, write_durably
from ...errors import LineaError, make_folder, reason, short

_STATE, _FACTS, _LOCK = "state.safetensors", "state.json", ".training-lock"
_LARGEST = 2**40
_ADDED = {"map_dropout": 0.0}
"""Settings that states of earlier versions do not name -> what they were then."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Within the context no other process or thread trains with its states in a folder, which is made when missing.

    The system itself lets go when a process is killed; the same thread may claim a folder again.

    Raises:
        LineaError: another training is at work there, or the folder cannot be written.
    """
    make_folder(folder)
    lock = FileLock(folder / _LOCK, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise LineaError(
            f"got the folder {str(folder)!r}, in which another training is at work: expected one of its own; wait for "
            "the other, or choose another folder"
        ) from None
    except OSError as error:
        raise LineaError(f"got the folder {str(folder)!r}: expected to lock it ({reason(error)})") from None
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):  # a folder with something to go on with stays
                (folder / _LOCK).unlink(missing_ok=True)
                folder.rmdir()
        lock.release()


class Checkpoints:
    """A folder with the newest state of one training.

    A state is written as a folder of its own under a temporary name and then renamed, so that a process killed at any
    moment, or a disk that is full, leaves the state before or the new one, whole.

    Args:
        folder: made when missing.
        identity: JSON-able facts that tell this training from another: settings, prompts, base model, weights.

    Attributes:
        seconds: that the training took so far; saved and read with a state.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.seconds = 0.0
        self.identity = json.loads(json.dumps(identity, default=str))

    def save(self, tensors: Mapping[str, torch.Tensor], losses: list[float]) -> None:
        """Write the state after as many iterations as there are losses, and remove older ones.

        Raises:
            LineaError: it cannot be written; the state before is still there.
        """
        make_folder(self.folder)
        partial, final = self.folder / "partial", self.folder / f"after-{len(losses):08d}"
        if final.exists():
            return
        state = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
        facts = json.dumps({"losses": losses, "seconds": self.seconds, "identity": self.identity}).encode()
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            write_durably(partial / _STATE, state)
            write_durably(partial / _FACTS, facts)
            partial.rename(final)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise LineaError(
                f"got a training state that cannot be written to {str(self.folder)!r} ({reason(error)}): expected room "
                "for it; the state before it is kept, from which the same training goes on; make room"
            ) from None
        for older in self._states()[:-1]:
            shutil.rmtree(older, ignore_errors=True)

    def load(self) -> tuple[dict[str, torch.Tensor], list[float]] | None:
        """The newest state as (tensors, losses), or None if there is none.

        Raises:
            LineaError: the state is damaged, or of a training with other settings.
        """
        states = self._states()
        if not states:
            return None
        try:
            facts = json.loads(read_bytes(states[-1] / _FACTS, limit=_LARGEST))
            tensors = load(read_bytes(states[-1] / _STATE, limit=_LARGEST))
            losses, identity = [float(loss) for loss in facts["losses"]], dict(facts["identity"])
            seconds = float(facts.get("seconds", 0))
        except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            raise LineaError(
                f"got a damaged training state in {str(states[-1])!r} ({reason(error)}): expected one as written; "
                f"remove {str(self.folder)!r} to begin anew"
            ) from None
        if different := [text for key in sorted(self.identity) if (text := self._difference(key, identity))]:
            raise LineaError(
                f"got a training in {str(self.folder)!r}, unfinished or not saved yet, that differs in "
                f"{', '.join(different)}: expected the same to go on; give that, or remove the folder to begin anew"
            )
        self.seconds = seconds
        return tensors, losses

    def remove(self) -> None:
        """Forget the states: the maps are saved. Those of another training and other files stay."""
        with suppress(LineaError):
            self.load()
            for path in (self.folder / "partial", *self._states()):
                shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):  # it is still claimed, or other files are in it
                self.folder.rmdir()

    def _difference(self, key: str, identity: Mapping[str, Any]) -> str:
        """What is not the same, in words; empty if all is."""
        there, here = identity.get(key), self.identity[key]
        if isinstance(there, dict) and isinstance(here, dict):
            there = {**{name: value for name, value in _ADDED.items() if name in here}, **there}
        if there == here:
            return ""
        if isinstance(there, dict) and isinstance(here, dict):
            changed = (k for k in sorted({*there, *here}) if there.get(k) != here.get(k))
            return (
                f"{key} ({', '.join(f'{k}: {short(there.get(k))} there, {short(here.get(k))} now' for k in changed)})"
            )
        return f"{key} ({short(there)} there, {short(here)} now)"

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob("after-*"))
