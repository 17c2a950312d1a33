"""The machine that something runs on: its facts, its clock, and the peak memory of a job; ways timed in turns."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .ways import Way

Lap = tuple[int, str, str, float]
"""(round, part, way, seconds)."""

_PROCESS = Path("/proc/self")


def machine_facts(device: torch.device) -> dict[str, str | int]:
    """Date, machine, device, threads, versions."""
    on_cuda = device.type == "cuda"
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "device": torch.cuda.get_device_name(device) if on_cuda else f"{device.type} ({_processor()})",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "diffusers", "transformers")},
    }


def timed(ways: Sequence[Way], rounds: Iterable[int], device: torch.device) -> list[Lap]:
    """(round, part, way, seconds) in the order of time; only the job itself is timed, to its end on the device."""
    laps = []
    for number in rounds:
        for way in ways if number % 2 == 0 else reversed(ways):
            with way.ready() as job:
                laps.append((number, way.part, way.name, _seconds(job, device)))
    return laps


def peaks_of(ways: Sequence[Way], device: torch.device) -> dict[str, float | None]:
    """Way -> peak memory of its job in MiB, see `peak_growth`."""
    peaks = {}
    gc.freeze()  # what is there already is no garbage, and takes long to look through
    try:
        for way in ways:
            with way.ready() as job:
                peaks[way.name] = peak_growth(job, device)
    finally:
        gc.unfreeze()
    return peaks


def warm_up(way: Way, device: torch.device) -> str:
    """Run a way once; what keeps it from running, in words."""
    if way.refusal:
        return way.refusal
    try:
        with way.ready() as job:
            _seconds(job, device)
    except torch.OutOfMemoryError:
        pass
    else:
        return ""
    release(device)
    return "does not fit into memory"


def _seconds(job: Callable[[], Any], device: torch.device) -> float:
    wait_for(device)
    began = time.perf_counter()
    job()
    wait_for(device)
    return time.perf_counter() - began


def wait_for(device: torch.device) -> None:
    """Let a device finish what it was given, so that a clock tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_growth(run: Callable[[], Any], device: torch.device) -> float | None:
    """What a job takes at its peak beyond what was taken before, in MiB.

    On CUDA that is what tensors take. On the CPU it is resident memory of the process, after the C library has given
    back what it keeps for later, so that an earlier job does not hide a later one.

    Returns:
        None where it cannot be read: other devices, other systems than Linux.
    """
    release(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if device.type != "cpu" or not _forget_peak():
        return None
    resident = _status("VmRSS")
    run()
    return max(_status("VmHWM") - resident, 0) / 2**10


def release(device: torch.device) -> None:
    """Give back memory that nobody uses."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a C library without it keeps what it keeps
            ctypes.CDLL(None).malloc_trim(0)


def _forget_peak() -> bool:
    """Let the peak of the process begin anew, see proc(5); False where that cannot be done."""
    try:
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(key: str) -> int:
    """A number of /proc/self/status, in KiB."""
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def _processor() -> str:
    """The name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown"
