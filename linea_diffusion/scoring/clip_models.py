"""Loading CLIP models with open_clip: an error where it would guess preprocessing or activation, or cut a text off."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import hf_hub_download
from PIL import Image

from ..concepts.files import read_text
from ..errors import LineaError, nearest_hint, reason
from ..shapeland import CLIPS

PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
_CONFIG = "open_clip_config.json"
_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
_ENDINGS = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class LoadedClip:
    """A CLIP that is ready to embed.

    Attributes:
        name: for tables: the model, and the weights behind a slash.
        model: in evaluation mode.
        preprocess: an RGB image -> (3, h, w).
        tokenizer: texts -> tokens.
    """

    name: str
    model: Any
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Any


@dataclass(frozen=True)
class _Source:
    """What open_clip calls a model, and what is known of its weights."""

    identifier: str
    pretrained: str | None
    preprocessing: Mapping[str, Any]
    quick_gelu: bool | None
    name: str
    twin: str = field(default="")


def load_clip(
    model: str,
    pretrained: str | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    quick_gelu: bool | None,
    **preprocessing: Any,
) -> LoadedClip:
    """A CLIP by the arguments of `ClipScorer`, which says what they mean.

    Raises:
        LineaError: an unknown model, weights that cannot be had, or weights whose preprocessing or activation is not
            known or is another than given.
    """
    if dtype not in _PRECISIONS:
        raise LineaError(f"got dtype {dtype} for CLIP: expected one of {', '.join(map(str, _PRECISIONS))}")
    source = _source(model, pretrained)
    quick = _activation(source, quick_gelu)
    settings = {name: _field(source, name, preprocessing.get(name)) for name in PREPROCESSING}
    missing = [name for name, value in settings.items() if value is None]
    if missing:
        raise LineaError(
            f"got weights {source.name!r} that do not say how pictures are prepared for them: expected "
            f"{', '.join(f'{name}=' for name in missing)} as they were trained with"
        )
    try:
        loaded, preprocess = open_clip.create_model_from_pretrained(
            source.identifier, pretrained=source.pretrained, precision=_PRECISIONS[dtype], device=device,
            force_quick_gelu=quick, **{f"image_{name}": value for name, value in settings.items()},
        )  # fmt: skip
        tokenizer = open_clip.get_tokenizer(source.identifier)
    except (OSError, RuntimeError, ValueError) as error:
        raise LineaError(
            f"got CLIP {model!r} with weights {pretrained!r}, which cannot be loaded here ({reason(error)}): expected "
            f"reachable weights; without network use {', '.join(CLIPS)}, a folder, or a local checkpoint file"
        ) from None
    return LoadedClip(source.name, loaded.eval(), preprocess, tokenizer)


def text_length(tokenizer: Any, text: str) -> int:
    """Tokens of a text with those for its begin and end, before anything is cut off."""
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None:
        return len(tokenizer.encode(text)) + 2
    cleaned = tokenizer.clean_fn(text)
    if getattr(tokenizer, "tokenizer_mode", "") == "clips":
        return len(inner(cleaned, add_special_tokens=False, verbose=False)["input_ids"]) + 3
    return len(inner(cleaned, verbose=False)["input_ids"])


def word_pieces(tokenizer: Any, word: str) -> int:
    """How many tokens a tokenizer of open_clip makes of one word."""
    inner = getattr(tokenizer, "tokenizer", None)
    return len(tokenizer.encode(word) if inner is None else inner.tokenize(word))


def _source(model: str, pretrained: str | None) -> _Source:
    architectures = open_clip.list_models()
    folder = CLIPS.get(model, Path(model))
    architecture = model.replace("/", "-")
    if folder.is_dir() or model.startswith("hf-hub:") or (architecture not in architectures and _is_hub_id(model)):
        if pretrained is not None:
            raise LineaError(f"got weights {pretrained!r} for CLIP {model!r}, which has its own: leave one of them out")
        return _described(model, folder)
    if architecture not in architectures:
        raise LineaError(
            f"got CLIP model {model!r}: expected {', '.join(CLIPS)}, a folder with {_CONFIG}, a Hub id or "
            f"an open_clip architecture{nearest_hint(model, [*CLIPS, *architectures])}"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained in tags:
        return tagged(architecture, str(pretrained))
    file = _checkpoint(pretrained)
    if file is None:
        raise LineaError(
            f"got weights {pretrained!r} for CLIP {model!r}: expected a checkpoint file or one of {', '.join(tags)}"
        )
    return _from_file(architecture, file, tags)


def _is_hub_id(model: str) -> bool:
    return model.count("/") == 1 and not model.startswith((".", "/")) and not model.endswith(_ENDINGS)


def _described(model: str, folder: Path) -> _Source:
    """A folder or a repository that says in a file what it is."""
    if folder.is_dir():
        identifier, file = f"local-dir:{folder}", folder / _CONFIG
    else:
        hub_id = model.removeprefix("hf-hub:")
        identifier, file = f"hf-hub:{hub_id}", _downloaded(hub_id)
    try:
        config = json.loads(read_text(file, what="CLIP configuration"))
        architecture = config["model_cfg"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LineaError(
            f"got CLIP {model!r} without a readable {_CONFIG} ({reason(error)}): expected a model that open_clip "
            "saved; for a bare checkpoint name the architecture, and the file as its weights"
        ) from None
    preprocessing = config.get("preprocess_cfg") or {}
    return _Source(identifier, None, preprocessing, bool(architecture.get("quick_gelu", False)), model)


def _downloaded(hub_id: str) -> Path:
    try:
        return Path(hf_hub_download(hub_id, _CONFIG))
    except (OSError, ValueError) as error:
        raise LineaError(
            f"got CLIP {hub_id!r}, which cannot be loaded here ({reason(error)}): expected a reachable Hub id of an "
            f"open_clip model, a folder with {_CONFIG}, or one of {', '.join(CLIPS)}"
        ) from None


def tagged(architecture: str, tag: str) -> _Source:
    """Weights that open_clip itself describes."""
    described = open_clip.get_pretrained_cfg(architecture, tag)
    quick, usual = described.get("quick_gelu"), bool((open_clip.get_model_config(architecture) or {}).get("quick_gelu"))
    if quick is not None and bool(quick) != usual:
        fitting = f"{architecture}-quickgelu" if quick else architecture.removesuffix("-quickgelu")
        raise LineaError(
            f"got weights {tag!r} for CLIP {architecture!r}, whose activation is not the one they were trained with: "
            f"expected {fitting!r}"
        )
    return _Source(architecture, tag, described, usual, f"{architecture}/{tag}")


def _from_file(architecture: str, file: Path, tags: list[str]) -> _Source:
    """A bare checkpoint: what all known weights of its architecture agree on is known of it as well."""
    described = [open_clip.get_pretrained_cfg(architecture, tag) for tag in tags]
    agreed = {
        name: described[0].get(name)
        for name in PREPROCESSING
        if described and len({str(one.get(name)) for one in described}) == 1
    }
    usual = bool((open_clip.get_model_config(architecture) or {}).get("quick_gelu"))
    doubtful = not usual and any(one.get("quick_gelu") for one in described)
    return _Source(architecture, str(file), agreed, None if doubtful else usual, f"{architecture}/{file.name}")


def _checkpoint(pretrained: str | None) -> Path | None:
    """The file of weights, also if it is the only one in a folder."""
    if pretrained is None:
        return None
    path = Path(pretrained)
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.suffix in _ENDINGS]
        if len(files) != 1:
            raise LineaError(
                f"got CLIP weights {pretrained!r}, a folder with {len(files)} checkpoint files: expected one, or "
                "the name of one"
            )
        return files[0]
    return path if path.is_file() else None


def _activation(source: _Source, argument: bool | None) -> bool:
    fact = source.quick_gelu
    if fact is None and argument is None:
        raise LineaError(
            f"got weights {source.name!r}, which do not say their activation, and there are weights of both for this "
            "architecture: expected quick_gelu=True (OpenAI's own and others) or quick_gelu=False"
        )
    if None not in (fact, argument) and fact != argument:
        raise LineaError(
            f"got quick_gelu={argument} for CLIP {source.name!r}, which has quick_gelu={fact}: leave it out, or name "
            "another architecture"
        )
    return bool(argument if fact is None else fact)


def _field(source: _Source, name: str, argument: Any) -> Any:
    """One setting of the preprocessing: known of the weights, or given."""
    fact = source.preprocessing.get(name)
    if isinstance(fact, list):
        fact = tuple(fact)
    if isinstance(argument, list | tuple):
        argument = tuple(float(value) for value in argument)
        if len(argument) != 3:
            raise LineaError(f"got {name}={argument}: expected three numbers, one per channel")
    if argument is not None and fact is not None and argument != fact:
        raise LineaError(
            f"got {name}={argument} for CLIP {source.name!r}, whose weights were trained with {fact}: leave it out"
        )
    return fact if argument is None else argument
