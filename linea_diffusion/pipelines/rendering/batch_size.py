"""How many images run at once: a number, or what memory has room for; less after memory ran out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import psutil
import torch

from ...errors import LineaError, as_whole, short

if TYPE_CHECKING:
    from .requests import Request

BatchSizeArgument = int | Literal["auto"]

_BYTES_A_PIXEL = 8_000
"""What a float32 Stable Diffusion needs beyond its weights for each pixel of a picture, roughly."""
_MOST = {"cpu": 16, "gpu": 64}
_CPU_PIXELS = 16 * 128 * 128
"""On a CPU larger pictures gain nothing from company."""


class CudaMemory:
    """What a batch takes of a CUDA device, in bytes.

    Args:
        device: the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._before = device, 0

    def begin(self) -> None:
        """A batch is about to run."""
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def taken(self) -> int:
        """The most that it had beyond what was there before."""
        return torch.cuda.max_memory_allocated(self._device) - self._before

    def free(self) -> int:
        """What a batch may have now: free on the device, or kept by PyTorch without use."""
        kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return int(torch.cuda.mem_get_info(self._device)[0]) + kept


class BatchSize:
    """The size of batches, for requests of any size of picture.

    Args:
        wanted: a number, or ``"auto"``: what half the free memory has room for by a rule of thumb, at most 16 on a CPU
            (and fewer of large pictures, which gain nothing there) and 64 elsewhere. On CUDA the first batch
            replaces the rule of thumb by what it took.
        pipe: the base pipeline.
        memory: tells what a batch takes; `CudaMemory` on CUDA, otherwise nothing tells.

    Raises:
        LineaError: neither a number above 0 nor ``"auto"``.
    """

    def __init__(self, wanted: BatchSizeArgument, pipe: Any, *, memory: CudaMemory | None = None) -> None:
        count = None if wanted == "auto" else as_whole(wanted) or 0
        if count is not None and count < 1:
            raise LineaError(f"got batch_size={short(wanted)}: expected a whole number above 0, or auto")
        self._wanted = count
        self._usual = _usual_size(pipe)
        self._device = torch.device(getattr(pipe, "_execution_device", pipe.device))
        self._room = _pixels_that_fit(self._device)
        self._ceiling: float = float("inf")
        if memory is None and self._device.type == "cuda" and count is None:
            memory = CudaMemory(self._device)
        self._memory = memory

    def of(self, request: Request) -> int:
        """The largest batch that this request may be in now."""
        pixels = self._pixels(request)
        size = self._wanted
        if size is None:
            most = _MOST["cpu" if self._device.type == "cpu" else "gpu"]
            size = min(most, max(1, self._room // pixels))
        return int(max(1, min(size, self._ceiling // pixels)))

    def shrink(self, request: Request, rows: int) -> int:
        """Memory ran out with so many rows: go on with half of them, and no larger batch from now on."""
        self._ceiling = min(self._ceiling, max(1, rows // 2) * self._pixels(request))
        return self.of(request)

    def begin(self) -> None:
        """A batch is about to run."""
        if self._memory is not None:
            self._memory.begin()

    def learn(self, request: Request, rows: int) -> None:
        """A batch of so many rows has run: what it took says what four fifths of the free memory have room for."""
        if self._memory is not None:
            taken, free = self._memory.taken(), self._memory.free()
            self._room = max(1, int(0.8 * free * rows * self._pixels(request) / max(taken, 1)))

    def _pixels(self, request: Request) -> int:
        width, height = (
            request.arguments.get(name) or usual for name, usual in zip(("width", "height"), self._usual, strict=True)
        )
        return int(width * height)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    words = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")
    memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return memory or (isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words))


def _usual_size(pipe: Any) -> tuple[int, int]:
    """Width and height that a pipeline draws when told nothing, as far as it says so."""
    model = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    size = getattr(getattr(model, "config", None), "sample_size", None) or getattr(pipe, "default_sample_size", None)
    width, height = (size[-1], size[0]) if isinstance(size, list | tuple) else (size or 64, size or 64)
    factor = getattr(pipe, "vae_scale_factor", 8)
    return int(width * factor), int(height * factor)


def _pixels_that_fit(device: torch.device) -> int:
    free = _free_bytes(device) // 2 // _BYTES_A_PIXEL
    return max(1, min(free, _CPU_PIXELS) if device.type == "cpu" else free)


def _free_bytes(device: torch.device) -> int:
    """What may be had now; what the system merely keeps of files it has read counts as free."""
    return int(torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available)
