"""Where a model runs, and in which numbers, when nobody says it."""

from __future__ import annotations

import torch

from ...shapeland import LANGUAGE_MODELS, MODELS


def fitting_device() -> str:
    """The best that this machine has: ``cuda``, else ``mps``, else ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def fitting_dtype(device: str, model: str) -> torch.dtype:
    """The numbers in which a model runs well on a device.

    On a CPU float32. Elsewhere bfloat16, or float16 where the device does not compute in that; but embedded models,
    which are small, in float32 everywhere.

    Args:
        device: such as ``cuda:1``.
        model: its name.
    """
    kind = device.partition(":")[0]
    if kind == "cpu" or model in {**MODELS, **LANGUAGE_MODELS}:
        return torch.float32
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if _holds(device, torch.bfloat16) else torch.float16


def _holds(device: str, dtype: torch.dtype) -> bool:
    try:
        torch.ones(1, device=device, dtype=dtype).add(1)
    except (RuntimeError, TypeError):
        return False
    return True
