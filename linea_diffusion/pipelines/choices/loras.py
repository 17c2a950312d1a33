"""LoRA on a pipeline, from a folder, a file or the Hub, with a scale."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...errors import LineaError, as_number, reason, short


def split_lora(text: str) -> tuple[str, float]:
    """A LoRA as people type it, ``PATH`` or ``PATH=SCALE``: where it is, and its scale, 1 when left out.

    Raises:
        LineaError: no such file or folder, a scale that is no number, or PEFT is not installed.
    """
    source, equals, scale = text.rpartition("=")
    if not equals or Path(text).exists():
        source, scale = text, "1"
    try:
        number = as_number(float(scale))
    except ValueError:
        number = None
    if number is None or not source.strip():
        raise LineaError(f"got LoRA {short(text)}: expected a file, folder or Hub id, or that with =SCALE such as =0.8")
    if not Path(source).exists() and (source.startswith((".", "/")) or source.count("/") != 1):
        raise LineaError(f"got LoRA {source!r}, and no such file or folder: expected one, or a Hub id such as you/lora")
    if find_spec("peft") is None:
        raise LineaError('got a LoRA and no PEFT to load it with: expected pip install "linea-diffusion[lora]"')
    return source, number


def load_loras(pipe: Any, loras: Sequence[str]) -> None:
    """Put LoRAs on a pipeline, all at once, each at its scale.

    Args:
        pipe: a diffusers pipeline.
        loras: as for `split_lora`.

    Raises:
        LineaError: a pipeline that takes none, a file that does not load, or one that changes nothing in the model.
    """
    pairs = [split_lora(text) for text in loras]
    if not pairs:
        return
    if not hasattr(pipe, "load_lora_weights"):
        raise LineaError(f"got a LoRA for a {type(pipe).__name__}, which takes none: expected --lora left out")
    names = [f"lora_{number}" for number in range(len(pairs))]
    for name, (source, _) in zip(names, pairs, strict=True):
        try:
            pipe.load_lora_weights(source, adapter_name=name)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            raise LineaError(
                f"got LoRA {source!r}, which does not load on a {type(pipe).__name__} ({reason(error)}): expected one "
                "for this kind of model"
            ) from None
        if not any(name in adapters for adapters in pipe.get_list_adapters().values()):
            raise LineaError(
                f"got LoRA {source!r}, which has nothing for the models of a {type(pipe).__name__}: expected one for "
                "this kind of model"
            )
    pipe.set_adapters(names, [scale for _, scale in pairs])
