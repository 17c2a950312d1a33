"""The state of an unfinished training on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .errors import LineaError
from .storage import make_folder

_STATE, _FACTS = "state.safetensors", "state.json"


class Checkpoints:
    """A folder with the newest state of one training.

    A state is written as a folder of its own under a temporary name and then renamed, so that a process killed at any
    moment leaves the state before or the new one, whole.

    Args:
        folder: made when missing.
        identity: JSON-able facts that tell this training from another: settings, prompts, base model.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.identity = json.loads(json.dumps(identity, default=str))

    def save(self, tensors: Mapping[str, torch.Tensor], losses: list[float]) -> None:
        """Write the state after as many iterations as there are losses, and remove older ones."""
        make_folder(self.folder)
        partial, final = self.folder / "partial", self.folder / f"after-{len(losses):08d}"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        partial.mkdir()
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, partial / _STATE)
        facts = {"losses": losses, "identity": self.identity}
        (partial / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
        partial.rename(final)
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
            facts = json.loads((states[-1] / _FACTS).read_text(encoding="utf-8"))
            tensors = load_file(states[-1] / _STATE)
            losses, identity = list(facts["losses"]), dict(facts["identity"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise LineaError(
                f"got a damaged training state in {str(states[-1])!r} ({error}): expected one as written; remove "
                f"{str(self.folder)!r} to begin anew"
            ) from None
        different = sorted(key for key in self.identity if identity.get(key) != self.identity[key])
        if different:
            raise LineaError(
                f"got an unfinished training in {str(self.folder)!r} that differs in {', '.join(different)}: expected "
                "the same settings to go on; give those, or remove the folder to begin anew"
            )
        return tensors, losses

    def remove(self) -> None:
        """Forget the states: the training is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob("after-*"))
