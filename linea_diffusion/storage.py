"""The file of steering maps: safetensors for numbers, JSON for facts, a model card for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .errors import LineaError

WEIGHTS, CONFIG, CARD = "steering.safetensors", "config.json", "README.md"
FORMAT_VERSION = 1


def write_maps(folder: Path, numbers: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Write maps to a folder, each file under a temporary name first.

    Args:
        folder: made when missing.
        numbers: ``<module>.scale_offset`` and ``<module>.shift`` -> (d,) tensors.
        metadata: JSON-able facts.
    """
    make_folder(folder)
    features = {key.removesuffix(".shift"): len(value) for key, value in numbers.items() if key.endswith(".shift")}
    config = {
        "format_version": FORMAT_VERSION,
        "modules": features,
        **metadata,
        "library_versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    partial = folder / (WEIGHTS + ".partial")
    save_file({key: value.float().contiguous().cpu() for key, value in numbers.items()}, partial)
    partial.replace(folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    (folder / CARD).write_text(_card(config))


def read_maps(source: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Numbers and metadata of maps in a local folder, or of a Hub id when no such folder exists.

    Raises:
        LineaError: missing or damaged files, unknown format, numbers that do not fit or are not finite.
    """
    folder = Path(source) if Path(source).exists() else _download(source)
    try:
        config = json.loads((folder / CONFIG).read_text())
        numbers = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise LineaError(
            f"got {source!r}: expected a folder with {CONFIG} and {WEIGHTS}; {error.filename} is missing"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError, OSError) as error:
        raise LineaError(
            f"got {source!r}: expected {CONFIG} and {WEIGHTS} as saved, but they are damaged: {error}"
        ) from None
    _check(source, numbers, config)
    return numbers, {key: value for key, value in config.items() if key not in ("format_version", "modules")}


def _check(source: str, numbers: Mapping[str, torch.Tensor], config: Any) -> None:
    if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION:
        found = config.get("format_version") if isinstance(config, dict) else config
        raise LineaError(
            f"got format version {found!r} in {source!r}: expected {FORMAT_VERSION}; update linea-diffusion"
        )
    modules = config.get("modules")
    if not isinstance(modules, dict):
        raise LineaError(f"got no list of modules in {source!r}/{CONFIG}: expected the file as saved")
    expected = {f"{name}.{part}": (d,) for name, d in modules.items() for part in ("scale_offset", "shift")}
    found = {key: tuple(value.shape) for key, value in numbers.items()}
    if found != expected:
        key = min(found.items() ^ expected.items(), key=str)[0]
        raise LineaError(
            f"got shape {found.get(key)} for {key!r} in {source!r}: expected {expected.get(key)} by its {CONFIG}"
        )
    for key, value in numbers.items():
        if not bool(value.isfinite().all()):
            raise LineaError(f"got NaN or infinity in {key!r} of {source!r}: expected finite numbers; train again")


def _download(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, allow_patterns=[WEIGHTS, CONFIG]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LineaError(
            f"got steering {source!r}: expected an existing folder or a reachable Hugging Face Hub id ({reason})"
        ) from None


def make_folder(folder: Path) -> None:
    """Create an output folder.

    Raises:
        LineaError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".linea-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise LineaError(f"got output folder {str(folder)!r}: expected a writable place ({error.strerror})") from None


def _card(config: Mapping[str, Any]) -> str:
    concept, base = config.get("concept", "a concept"), config.get("base_model", "its base model")
    return (
        "---\nlibrary_name: linea-diffusion\ntags: [activation-steering, lineas, text-to-image]\n---\n\n"
        f"# {concept}: steering maps\n\n"
        f"{len(config['modules'])} coordinate-wise affine maps learned by LinEAS (arXiv 2503.10679) for {base}.\n\n"
        "```python\nfrom linea_diffusion import LinEASDiffusionPipeline\n\n"
        f'pipe = LinEASDiffusionPipeline.from_pretrained("{base}")\n'
        'pipe.load_steering("path/to/this/folder")\nimage = pipe("a red heart", strength=0.7).images[0]\n```\n'
    )
