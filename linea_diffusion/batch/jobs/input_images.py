"""Pictures that jobs start from or are controlled by: named by file, known by their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from ...concepts.files import open_regular
from ...errors import LineaError, reason
from ...pipelines.modular import accepts
from ...scoring.images.opening import open_images


def is_picture(name: str, value: Any) -> bool:
    """Whether an argument of a pipeline, or the mask, is the file name of a picture."""
    return isinstance(value, str) and (name in ("image", "mask") or name.endswith("_image"))


def settled(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with the digests of pictures in place of their names."""
    return {name: picture_digest(value) if is_picture(name, value) else value for name, value in arguments.items()}


def pictures_by_row(pipe: Any) -> tuple[str, ...]:
    """The arguments of a pipeline of which each prompt of a call may have a picture of its own.

    Elsewhere a list means several pictures for every prompt: of IP-Adapters, of several ControlNets, references of an
    editing model.
    """
    guides = [pipe.components[name] for name in ("controlnet", "adapter") if pipe.components.get(name) is not None]
    several = any(hasattr(guide, "nets") or hasattr(guide, "adapters") for guide in guides)
    return ("image", "mask_image", "control_image") if (guides or accepts(pipe, "strength")) and not several else ()


def open_picture(path: str) -> Image.Image:
    """The picture as RGB, or a `LineaError` if it cannot be read."""
    return open_images([path])[0]


def picture_size(path: str) -> tuple[int, int] | None:
    """Width and height as the picture is shown; None if it cannot be read, which is said when it is needed."""
    try:
        return _size(*_state(path))
    except (LineaError, OSError, ValueError):
        return None


def picture_digest(path: str) -> str:
    """Digest of the bytes of a file."""
    try:
        return _digest(*_state(path))
    except LineaError:
        raise
    except (OSError, ValueError) as error:
        raise LineaError(f"got picture {path!r}: expected a readable file ({reason(error)})") from None


def _state(path: str) -> tuple[str, int, int]:
    """A file, and what of it is another if it is written anew."""
    facts = Path(path).stat()
    return path, facts.st_mtime_ns, facts.st_size


@lru_cache(maxsize=1024)
def _size(path: str, changed: int, size: int) -> tuple[int, int]:
    return open_picture(path).size


@lru_cache(maxsize=1024)
def _digest(path: str, changed: int, size: int) -> str:
    with open_regular(path, what="picture") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
