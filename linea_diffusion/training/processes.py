"""Several processes, one batch: who runs which rows, and what they tell each other.

Rows are dealt out like cards: of n rows, process r of w takes r, r + w, r + 2w, ... With one process, every function
here gives back what it was given. Processes are those of `torch.distributed`, as `accelerate launch` or torchrun start
them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from accelerate import PartialState
from torch import distributed

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


def join_processes() -> None:
    """Connect with the other processes if a launcher started several; otherwise do nothing.

    Without a GPU they talk through gloo. ``accelerate launch`` starts several processes on a CPU only with
    ``--multi_gpu``, whatever its name says; torchrun starts them anywhere.
    """
    PartialState(cpu=not torch.accelerator.is_available())


def _count() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _rank() -> int:
    return distributed.get_rank() if _count() > 1 else 0


def works_alone() -> bool:
    """Whether there is only one process."""
    return _count() == 1


def is_main_process() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return _rank() == 0


def wait_for_all() -> None:
    """Go on when every process is here."""
    if _count() > 1:
        distributed.barrier()


def share_of(items: Sequence[Item]) -> list[Item]:
    """This process' part of some items; never empty unless there are no items.

    With fewer items than processes, those left without one repeat the last item; `gather_rows` drops the repetition.
    """
    return list(items[_rank() :: _count()]) or list(items[-1:])


def gather_rows(parts: Mapping[Key, torch.Tensor], total: int) -> dict[Key, torch.Tensor]:
    """All processes' rows in the order of the items: (share, ...) each -> (total, ...), detached.

    Everything travels in one message, as float32.
    """
    if works_alone():
        return {key: rows.detach() for key, rows in parts.items()}
    flat = torch.cat([rows.detach().flatten(1) for rows in parts.values()], dim=1).float()
    padded = flat.new_zeros((-(-total // _count()), flat.shape[1]))
    padded[: len(flat)] = flat
    gathered = [torch.empty_like(padded) for _ in range(_count())]
    distributed.all_gather(gathered, padded)
    whole = torch.stack(gathered, dim=1).flatten(0, 1)[:total]
    columns = whole.split([rows[0].numel() for rows in parts.values()], dim=1)
    return {key: part.reshape(total, *parts[key].shape[1:]) for key, part in zip(parts, columns, strict=True)}


def own_rows(rows: torch.Tensor) -> torch.Tensor:
    """This process' part of the rows of a whole batch; zeros if it only repeats another's item."""
    mine = rows[_rank() :: _count()]
    return mine if len(mine) else torch.zeros_like(rows[-1:])


def add_up(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by its sum over all processes."""
    if _count() > 1:
        for tensor in tensors:
            distributed.all_reduce(tensor)


def any_of_all(mine: bool) -> bool:
    """Whether any process says so; all get the same answer, for which they wait for each other."""
    if works_alone():
        return mine
    said = torch.tensor(float(mine), device=PartialState().device)
    distributed.all_reduce(said)
    return bool(said)


def own_device() -> str:
    """The GPU of this process when several share a machine."""
    join_processes()
    state = PartialState()
    return str(state.device) if state.num_processes > 1 else "cuda"
