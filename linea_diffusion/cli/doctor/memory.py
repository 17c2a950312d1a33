"""Memory: what the device has, what is free of it, and how many pictures of a model fit, counted."""

from __future__ import annotations

from typing import Any

import psutil
import torch

from ...pipelines.sizing.memory import ROOM, call_memory
from ...pipelines.sizing.shapes import shapes_of
from ..bench.command import is_random
from ..bench.random_models import random_pipeline
from ..options.machines import silence_loading

GIB = 2**30


def device_name(device: str) -> str:
    """``cuda:0 (NVIDIA H100)``, or ``cpu`` with its cores."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} (cores: {psutil.cpu_count()}, threads: {torch.get_num_threads()})" if device == "cpu" else device


def memory_of(device: str) -> tuple[int, int]:
    """What is free on a device, and all that it has, in bytes; other devices than CUDA share the machine's."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)
    machine = psutil.virtual_memory()
    return machine.available, machine.total


def batch_facts(model: str, dtype: torch.dtype, memory: int, arguments: dict[str, Any]) -> dict[str, str]:
    """What pictures of a model need, and how many fit at once into so many bytes.

    Args:
        model: a folder, a Hub id, or a model of random weights; its weights are not read.
        dtype: in which it would run.
        memory: that is free for it.
        arguments: of its calls.

    Raises:
        LineaError: see `shapes_of`.
    """
    silence_loading()
    pipe = random_pipeline(model, device="meta", dtype=dtype) if is_random(model) else shapes_of(model, dtype)
    counted = call_memory(pipe, **arguments)
    most = counted.largest(memory)
    number, share = str(dtype).removeprefix("torch."), f"{ROOM:.0%} of {gib(memory)}"
    return {
        "weights": f"{gib(counted.weights)} in {number}",
        "a picture": f"{gib(counted.picture)} more for each of a batch",
        "largest batch": f"{most or 'not even one picture'} in {share}; counted, not measured",
    }


def gib(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.1f} MiB"
