"""Loading base pipelines: embedded models, diffusers folders, Hub ids, and single checkpoint files."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, ModularPipeline
from diffusers.loaders.single_file_utils import (
    SingleFileComponentError,
    fetch_diffusers_config,
    load_single_file_checkpoint,
)

from ..errors import LineaError, nearest_hint, reason, short
from ..shapeland import LOAD_ARGUMENTS, MODELS
from .modular import bars_of, is_modular

Dtype = torch.dtype | Mapping[str, torch.dtype]
"""Of all weights, or component -> of its weights, with ``"default"`` for the others."""

_MODULAR_INDEX = "modular_model_index.json"
CHECKPOINTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""Endings of files that hold a whole model."""


def check_dtype(dtype: Dtype | None, torch_dtype: Dtype | None) -> Dtype:
    """The one that is given of ``dtype`` and its older name; float32 if none is.

    Raises:
        LineaError: both, or neither a floating-point dtype nor a dict of them.
    """
    if dtype is not None and torch_dtype is not None:
        raise LineaError("got both dtype and torch_dtype, its older name: expected one of them")
    choice = next((one for one in (dtype, torch_dtype) if one is not None), torch.float32)
    for value in choice.values() if isinstance(choice, Mapping) else [choice]:
        if not (isinstance(value, torch.dtype) and value.is_floating_point):
            raise LineaError(
                f"got dtype {short(value)}: expected a floating-point one such as torch.float16, or a dict "
                "{component: dtype} with 'default' for the others"
            )
    return dict(choice) if isinstance(choice, Mapping) else choice


def load_base(name: str | Path, dtype: Dtype, **kwargs: Any) -> Any:
    """The diffusers pipeline of an embedded model, a diffusers folder, a Hub id or a checkpoint file.

    Args:
        name: what to load.
        dtype: of the weights.
        **kwargs: of diffusers' ``from_pretrained`` or ``from_single_file``.

    Raises:
        LineaError: nothing there, or nothing that loads as asked.
    """
    place = MODELS.get(str(name), name)
    if str(place).endswith(CHECKPOINTS) and not Path(place).is_dir():
        return load_checkpoint(name, dtype, **kwargs)
    _refuse_no_folder(name, place)
    arguments = {**LOAD_ARGUMENTS.get(str(name), {}), **kwargs}
    try:
        if _is_modular_folder(place):
            base = load_modular(place, dtype, **arguments)
        else:
            base = DiffusionPipeline.from_pretrained(place, dtype=dtype, **arguments)
    except (OSError, ValueError) as error:
        raise LineaError(_why_not(name, Path(place), arguments.get("variant"), error)) from None
    names = [*base.components, "default"]
    unknown = [part for part in dtype if part not in names] if isinstance(dtype, Mapping) else []
    if unknown:
        raise LineaError(
            f"got a dtype for {unknown[0]!r}: expected a component of this {type(base).__name__}"
            f"{nearest_hint(unknown[0], names)}"
        )
    return _named(base, name)


def load_modular(place: str | Path, dtype: Dtype, **kwargs: Any) -> Any:
    """The modular pipeline of a folder, with its components.

    Args:
        place: the folder; components that it names elsewhere are loaded from there.
        dtype: of the weights.
        **kwargs: of diffusers' ``from_pretrained`` (``trust_remote_code``, ``workflow`` ...); components in place of
            its own; the rest is for the components (``variant`` ...).

    Raises:
        LineaError: a component of the folder that does not load.
    """
    making = inspect.signature(ModularPipeline.from_pretrained).parameters
    pipe = ModularPipeline.from_pretrained(str(place), **{k: kwargs.pop(k) for k in list(kwargs) if k in making})
    pipe.update_components(**{name: kwargs.pop(name) for name in list(kwargs) if name in pipe.components})
    pipe.load_components(dtype=dtype, **kwargs)
    lost = [name for name in pipe.null_component_names if (Path(place) / name).is_dir()]
    if lost:
        raise LineaError(
            f"got model {str(place)!r}, whose {', '.join(lost)} did not load (why is in the log above): expected what "
            "its modular_model_index.json names there"
        )
    return pipe


def _named(base: Any, name: str | Path) -> Any:
    if is_modular(base):
        base._pretrained_model_name_or_path = str(name)
    else:
        base.register_to_config(_name_or_path=str(name))
    for one in bars_of(base):
        one.set_progress_bar_config(leave=False)
    return base


def load_checkpoint(file: str | Path, dtype: Dtype, *, config: str | Path | None = None, **kwargs: Any) -> Any:
    """The diffusers pipeline of a checkpoint file.

    Args:
        file: a path, or an address on the Hub.
        dtype: of the weights.
        config: diffusers folder or Hub id of the same kind of model, which says the pipeline's class and sizes.
            When left out: the file's own folder if it has a ``model_index.json``, else what diffusers takes the file
            for.
        **kwargs: of diffusers' ``from_single_file``, such as components that the file is without.

    Raises:
        LineaError: no such file, no configuration for it, or nothing that loads as asked.
    """
    if isinstance(dtype, Mapping):
        raise LineaError("got a dtype per component for a checkpoint file: expected one dtype; pipe.vae.to(...) later")
    if not str(file).startswith("https://") and not Path(file).is_file():
        raise LineaError(f"got model {str(file)!r}, and no such file: expected a checkpoint, or a diffusers folder")
    try:
        config = config or _config_of(file)
        name = DiffusionPipeline.load_config(str(config))["_class_name"]
    except (OSError, ValueError) as error:
        raise LineaError(
            f"got checkpoint {str(file)!r} without a configuration of its model ({reason(error)}): expected "
            "config= a diffusers folder or reachable Hub id of the same kind of model, or its model_index.json and "
            "folders beside the file"
        ) from None
    kind = getattr(diffusers, name)
    if not hasattr(kind, "from_single_file"):
        raise LineaError(f"got checkpoint {str(file)!r} for {name}, which diffusers loads from folders only")
    try:
        return _named(kind.from_single_file(str(file), config=str(config), dtype=dtype, **kwargs), file)
    except (OSError, ValueError, KeyError, RuntimeError, SingleFileComponentError) as error:
        raise LineaError(
            f"got checkpoint {str(file)!r}, which does not load as the {name} of {str(config)!r} ({reason(error)}): "
            "expected a whole model of that kind; give what it is without, such as vae=, or another config="
        ) from None


def _config_of(file: str | Path) -> str:
    if (Path(file).parent / "model_index.json").is_file():
        return str(Path(file).parent)
    return str(fetch_diffusers_config(load_single_file_checkpoint(str(file)))["pretrained_model_name_or_path"])


def _refuse_no_folder(name: str | Path, place: str | Path) -> None:
    if not Path(place).is_dir() and (Path(place).is_absolute() or str(place).startswith(".")):
        raise LineaError(
            f"got model {str(name)!r}, and no such folder: expected a diffusers folder, a checkpoint file, a Hub id, "
            f"or one of {', '.join(MODELS)}"
        )
    if Path(place).is_dir() and not ((Path(place) / "model_index.json").is_file() or _is_modular_folder(place)):
        raise LineaError(
            f"got model {str(name)!r}, a folder without a model_index.json: expected a diffusers folder, or the name "
            "of a checkpoint file in it"
        )


def _is_modular_folder(place: str | Path) -> bool:
    """Whether a folder holds a modular pipeline, and no other."""
    return (Path(place) / _MODULAR_INDEX).is_file() and not (Path(place) / "model_index.json").is_file()


def _why_not(name: str | Path, place: Path, variant: str | None, error: Exception) -> str:
    if variant is not None and "variant" in str(error):
        variants = sorted({file.name.split(".")[1] for file in place.glob("*/*.*.safetensors")})
        others = f"one of {', '.join(variants)}, or none" if variants else "variant left out"
        wanted = f"got model {str(name)!r} in variant {variant!r}, which it does not have"
        return f"{wanted}: expected {others} ({reason(error)})"
    if place.is_dir():
        return f"got model {str(name)!r}, which is there but does not load as asked: {reason(error)}"
    return (
        f"got model {str(name)!r}: expected a diffusers folder, a checkpoint file, a reachable Hub id, or one of "
        f"{', '.join(MODELS)} ({reason(error)})"
    )
