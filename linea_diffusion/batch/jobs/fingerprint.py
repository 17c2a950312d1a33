"""What a job's fields and its model are, in a digest, so that a job knows whether it is the same job."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn

from ...errors import LineaError, reason

_SAMPLES = 16
_EXACT = (str, int, bool, type(None))
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value in one canonical form: keys sorted, 1.0 as 1.

    Raises:
        LineaError: a value that is not JSON-able, or a number that is not finite.
    """
    try:
        text = _JSON.encode(canonical(value))
    except (TypeError, ValueError) as error:
        raise LineaError(f"got a value that JSON cannot hold ({reason(error)}): expected numbers and text") from None
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(value: Any) -> Any:
    """A value whose whole numbers are all integers, so that 1 and 1.0 are the same."""
    if type(value) in _EXACT:
        return value
    if isinstance(value, dict):
        return {key: canonical(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def model_digest(pipe: Any) -> str:
    """Digest of a pipeline: its class, scheduler, and some numbers of every weight.

    The same model in another folder has the same digest; another dtype, a LoRA or its scale, fused steering or another
    scheduler have not. Of each weight `_SAMPLES` numbers are read, evenly spaced, so that large models take
    a second.
    """
    sha = hashlib.sha256(type(pipe).__name__.encode())
    for name, part in sorted(pipe.components.items()):
        if isinstance(part, nn.Module):
            for weight, tensor in part.state_dict().items():
                sha.update(f"{name}.{weight} {tuple(tensor.shape)} {tensor.dtype}".encode())
                if tensor.numel() and not tensor.is_meta:
                    places = torch.linspace(0, tensor.numel() - 1, _SAMPLES, dtype=torch.float64).long()
                    sha.update(tensor.detach().reshape(-1)[places.to(tensor.device)].double().cpu().numpy().tobytes())
            named = {place: getattr(one, "scaling", None) for place, one in part.named_modules()}
            scales = {place: scaling for place, scaling in named.items() if isinstance(scaling, dict)}
            sha.update(json.dumps(scales, sort_keys=True, default=str).encode())
        elif hasattr(part, "step"):
            config = {key: value for key, value in part.config.items() if not key.startswith("_")}
            sha.update(f"{name} {type(part).__name__}".encode())
            sha.update(json.dumps(config, sort_keys=True, default=str).encode())
    return sha.hexdigest()
