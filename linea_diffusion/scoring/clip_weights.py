"""Which weights of open_clip are on this disk, so that they load without a network."""

from __future__ import annotations

from pathlib import Path

import open_clip
from huggingface_hub import try_to_load_from_cache

from ..errors import LineaError
from ..shapeland import CLIPS
from .clip_models import tagged

_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What a Hub repository of open_clip has one of."""


def clip_weights_on_disk(hub: Path | None = None) -> list[str]:
    """What `ClipScorer` takes without a network: embedded CLIPs, then ``ARCHITECTURE/TAG`` of open_clip's own list.

    Args:
        hub: the Hub's cache; the usual one when left out.
    """
    listed = [(str(architecture), str(tag)) for architecture, tag in open_clip.list_pretrained()]
    return [*CLIPS, *(f"{one}/{tag}" for one, tag in listed if _is_here(one, tag, hub) and _fits(one, tag))]


def _is_here(architecture: str, tag: str, hub: Path | None) -> bool:
    """Where there is a Hub id, open_clip looks nowhere else; weights with a URL alone are kept in ~/.cache/clip."""
    described = open_clip.get_pretrained_cfg(architecture, tag)
    repository, _, file = described.get("hf_hub", "").rpartition("/")
    if not repository:
        return (Path.home() / ".cache" / "clip" / Path(described.get("url", "/")).name).is_file()
    files = (file,) if file else _FILES
    return any(isinstance(try_to_load_from_cache(repository, one, cache_dir=hub), str) for one in files)


def _fits(architecture: str, tag: str) -> bool:
    """Weights stand in the list under each activation; only one is theirs."""
    try:
        tagged(architecture, tag)
    except LineaError:
        return False
    return True
