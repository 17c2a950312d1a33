"""Several processes, one batch: who runs which rows, and what they tell each other.

Rows are dealt out like cards: of n rows, process r of w takes r, r + w, r + 2w, ... With one process, every function
here gives back what it was given. Processes are those that `accelerate launch` or torchrun started; the first question
connects them. Without a GPU they talk through gloo, and ``accelerate launch`` starts several of them only with
``--multi_gpu``, whatever its name says.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather, reduce

_Item = TypeVar("_Item")
_Key = TypeVar("_Key", bound=Hashable)


def _state() -> PartialState:
    return PartialState(cpu=not torch.accelerator.is_available())


def works_alone() -> bool:
    """Whether there is only one process."""
    return _state().num_processes == 1


def is_main_process() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return _state().is_main_process


def wait_for_all() -> None:
    """Go on when every process is here."""
    _state().wait_for_everyone()


def share_of(items: Sequence[_Item]) -> list[_Item]:
    """This process' part of some items; never empty unless there are no items.

    With fewer items than processes, those left without one repeat the last item; `gather_rows` drops the repetition.
    """
    return list(items[_share()]) or list(items[-1:])


def _share() -> slice:
    state = _state()
    return slice(state.process_index, None, state.num_processes)


def gather_rows(parts: Mapping[_Key, torch.Tensor], total: int) -> dict[_Key, torch.Tensor]:
    """All processes' rows in the order of the items: (share, ...) each -> (total, ...), detached.

    Everything travels in one message, as float32.
    """
    if works_alone():
        return {key: rows.detach() for key, rows in parts.items()}
    flat = torch.cat([rows.detach().flatten(1) for rows in parts.values()], dim=1).float()
    count = _state().num_processes
    padded = flat.new_zeros((-(-total // count), flat.shape[1]))
    padded[: len(flat)] = flat
    gathered = gather(padded).unflatten(0, (count, -1)).transpose(0, 1).flatten(0, 1)[:total]
    columns = gathered.split([rows[0].numel() for rows in parts.values()], dim=1)
    return {key: part.reshape(total, *parts[key].shape[1:]) for key, part in zip(parts, columns, strict=True)}


def share_of_rows(rows: torch.Tensor) -> torch.Tensor:
    """This process' part of the rows of a whole batch; zeros if it only repeats another's item."""
    share = rows[_share()]
    return share if len(share) else torch.zeros_like(rows[-1:])


def add_up(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by its sum over all processes."""
    for tensor in tensors:
        tensor.copy_(reduce(tensor, "sum"))


def any_of_all(flag: bool) -> bool:
    """Whether any process says so; all get the same answer, for which they wait for each other."""
    return bool(reduce(torch.tensor(float(flag), device=_state().device), "sum"))


def process_device() -> str:
    """The GPU of this process when several share a machine."""
    return "cuda" if works_alone() else str(_state().device)
