"""The file of steering maps: safetensors for numbers, JSON for facts, a model card for people."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from .. import __version__
from ..concepts.files import MEBIBYTE, read_bytes, write_durably
from ..errors import LineaError, make_folder, reason
from .card import Samples, model_card
from .config_file import RESERVED, check_digests, read_config, write_config
from .facts import check_metadata
from .hub import download, full_id, upload
from .packing import check_numbers, check_shapes, pack
from .unpacking import unpack

WEIGHTS, CONFIG, CARD = "steering.safetensors", "config.json", "README.md"
_LARGEST = {CONFIG: 64 * MEBIBYTE, WEIGHTS: 2**33}
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def write_maps(
    folder: Path,
    numbers: Mapping[str, torch.Tensor],
    metadata: Mapping[str, Any],
    *,
    repo_id: str | None = None,
    dense: bool = False,
    samples: Samples | None = None,
) -> None:
    """Write maps to a folder. Nothing is written unless `read_maps` would read it.

    Args:
        folder: made when missing.
        numbers: ``<module>.<part>``, as `SteeringMaps.numbers` gives them: float32 tensors (d,) or (bins, d), and with
            one axis more for the low-rank part.
        metadata: JSON-able facts; tuples come back as lists, and ``library_versions`` is replaced.
        repo_id: where the maps will be on the Hub, for the model card.
        dense: whether zeros are written, too.
        samples: pictures for the model card.

    Raises:
        LineaError: numbers that maps cannot have, metadata that JSON cannot hold, or a folder that cannot be written.
    """
    shapes = check_numbers(numbers)
    facts = check_metadata(metadata, "the metadata")
    libraries = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    facts["library_versions"] = {"linea-diffusion": __version__, **libraries}
    weights = pack(numbers, dense=dense)
    config = write_config(shapes, facts, weights)
    make_folder(folder)
    texts = {CONFIG: json.dumps(config, indent=2, allow_nan=False) + "\n", CARD: model_card(config, repo_id, samples)}
    # The config goes first: with old weights it names the wrong digest, while an old config may name none.
    pictures = samples.files() if samples else {}
    if pictures:
        make_folder(folder / "images")
    card = {CARD: texts[CARD].encode("utf-8", "replace")}
    _replace(folder, {CONFIG: texts[CONFIG].encode(), WEIGHTS: weights, **pictures, **card})


def read_maps(
    source: str, *, revision: str | None = None, token: str | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Numbers and metadata of maps.

    Args:
        source: a folder, its ``steering.safetensors``, or, when no such folder exists, a Hugging Face Hub id.
        revision: branch, tag or commit on the Hub.
        token: for a private repository on the Hub; default the one of ``hf auth login``.

    Returns:
        The numbers as they were given to `write_maps`, bit for bit, and the metadata.

    Raises:
        LineaError: missing or damaged files, files that do not belong together, an unknown format, numbers or facts
            that maps cannot have, a repository that cannot be read, or a revision of a local folder.
    """
    folder = _local(source)
    if folder is None:
        folder = download(source, (WEIGHTS, CONFIG), revision=revision, token=token)
    elif revision is not None:
        raise LineaError(f"got revision {revision!r} of the local {source!r}: expected a Hub id with it; leave it out")
    text, weights = _read(folder, CONFIG, source), _read(folder, WEIGHTS, source)
    place = f"{CONFIG} of {source!r}"
    config = read_config(text, place)
    format_version = config["format_version"]
    shapes = check_shapes(config.get("modules"), place, version=format_version)
    metadata = check_metadata({key: value for key, value in config.items() if key not in RESERVED}, place)
    if format_version > 1:
        check_digests(config, weights, source)
    return unpack(weights, shapes, f"{WEIGHTS} of {source!r}", version=format_version), metadata


def push_maps(
    repo_id: str,
    numbers: Mapping[str, torch.Tensor],
    metadata: Mapping[str, Any],
    *,
    private: bool = False,
    token: str | None = None,
    commit_message: str = "Upload steering maps",
    revision: str | None = None,
    samples: Samples | None = None,
) -> str:
    """Put maps on the Hugging Face Hub, into a repository that is made when missing.

    Args:
        repo_id: ``namespace/name``, or a name in the user's own namespace.
        numbers: as for `write_maps`.
        metadata: as for `write_maps`.
        private: make a new repository private.
        token: one that may write; default the one of ``hf auth login``.
        commit_message: first line of the commit.
        revision: branch to push to, made when missing; default ``main``.
        samples: pictures for the model card.

    Returns:
        The address of the commit.

    Raises:
        LineaError: as `write_maps`; not logged in, no right to write, no network.
    """
    with TemporaryDirectory() as folder:
        write_maps(Path(folder), numbers, metadata, repo_id=repo_id, samples=samples)
        hub_id = full_id(repo_id, token=token)
        if hub_id != repo_id:
            write_maps(Path(folder), numbers, metadata, repo_id=hub_id, samples=samples)
        return upload(
            Path(folder), hub_id, private=private, token=token, commit_message=commit_message, revision=revision
        )


def _replace(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write each file under a temporary name, then give all of them their names in the order given."""
    partial = {name: folder / f"{name}.partial" for name in contents}
    try:
        for name, content in contents.items():
            write_durably(partial[name], content)
        for name, path in partial.items():
            path.replace(folder / name)
    except OSError as error:
        raise LineaError(
            f"got output folder {str(folder)!r}: expected to write {', '.join(contents)} there ({reason(error)}); "
            "make room, or choose another folder"
        ) from None
    finally:
        for path in partial.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _local(source: str) -> Path | None:
    path = Path(source)
    try:
        if path.is_dir():
            return path
        if not path.is_file():
            return None
    except OSError:
        return None
    if path.name != WEIGHTS:
        hint = "; pickles are not read, because they can run code" if path.suffix in _PICKLES else ""
        raise LineaError(f"got the file {source!r}: expected a folder of maps or its {WEIGHTS}{hint}")
    return path.parent


def _read(folder: Path, name: str, source: str) -> bytes:
    if os.access(folder, os.X_OK) and not (folder / name).exists():
        pickles = sorted(path.name for path in folder.glob("*") if path.suffix in _PICKLES)
        hint = f" ({pickles[0]} is not read: pickles can run code)" if pickles else ""
        raise LineaError(
            f"got {source!r}: expected {CONFIG} and {WEIGHTS}, as save_pretrained writes them; {name} is missing{hint}"
        )
    return read_bytes(folder / name, what=name, limit=_LARGEST[name])
