"""What tells one model from another beside its name: dtypes, weights, and the versions that compute with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

_LIBRARIES = ("torch", "diffusers", "transformers")
_SAMPLED = 64


def identity_of(components: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that change what a training computes although its settings stay the same.

    Args:
        components: models, schedulers and whatever else a model is made of, by name.

    Returns:
        ``dtype``: component -> dtypes of its weights; ``weights``: SHA-256 over `_parts`; ``libraries``: name ->
        version, without the last part, which mends and does not change.
    """
    digest = hashlib.sha256()
    dtypes = {}
    for name, component in sorted(components.items()):
        digest.update(f"{name} {type(component).__name__}".encode())
        for part in _parts(component):
            digest.update(part)
        if isinstance(component, nn.Module):
            names = {str(parameter.dtype).removeprefix("torch.") for parameter in component.parameters()}
            dtypes[name] = ", ".join(sorted(names))
    libraries = {name: ".".join(version(name).split(".")[:2]) for name in _LIBRARIES}
    return {"dtype": dtypes, "weights": digest.hexdigest(), "libraries": libraries}


def _parts(component: Any) -> Iterator[bytes]:
    """Of a model every tensor's name, dtype, shape and `_print_of` it; of a scheduler and the like the settings."""
    if isinstance(component, nn.Module):
        for kind in (component.named_parameters(), component.named_buffers()):
            for name, tensor in kind:
                yield f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
                yield _print_of(tensor.detach())
    elif hasattr(component, "config") and hasattr(component.config, "items"):
        config = {key: value for key, value in component.config.items() if not key.startswith("_")}
        yield json.dumps(config, sort_keys=True, default=str).encode()


def _print_of(tensor: torch.Tensor) -> bytes:
    """A print of a tensor's bits, read once where they are: the sum of all its words, and some of its bytes.

    One changed number changes the sum. What has no bits here (meta, quantised wrappers) has its name and shape only.
    """
    if tensor.is_meta or type(tensor) is not torch.Tensor or not tensor.numel():
        return b""
    flat = tensor.flatten().clone() if tensor.storage_offset() else tensor.flatten()
    octets = flat.view(torch.uint8)
    end = len(octets) // 8 * 8
    total = int(octets[:end].view(torch.int64).sum()) if end else 0
    sampled = octets[:: max(1, len(octets) // _SAMPLED)][:_SAMPLED]
    return f"{total} {sampled.tolist()} {octets[end:].tolist()}".encode()
