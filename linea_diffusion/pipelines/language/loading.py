"""Loading language models: the embedded one, folders of transformers, Hub ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ...errors import LineaError, reason
from ...shapeland import LANGUAGE_MODELS
from ...steering.language import LanguageModel


def load_language_model(name: str | Path, dtype: torch.dtype = torch.float32, **kwargs: Any) -> LanguageModel:
    """A causal language model with its tokenizer.

    Args:
        name: ``wordland-lm``, a folder of transformers, or a Hub id.
        dtype: of the weights.
        **kwargs: of transformers' ``from_pretrained``, such as ``device_map``.

    Raises:
        LineaError: nothing that loads there.
    """
    place = LANGUAGE_MODELS.get(str(name), name)
    if (Path(place).is_absolute() or str(place).startswith(".")) and not Path(place).is_dir():
        raise LineaError(f"got language model {str(name)!r}, and no such folder: expected {_EXPECTED}")
    own = {key: kwargs[key] for key in ("revision", "token", "trust_remote_code") if key in kwargs}
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **own)
        model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **kwargs)
    except (OSError, ValueError, KeyError) as error:
        raise LineaError(
            f"got language model {str(name)!r}, which does not load as one: expected {_EXPECTED} ({reason(error)})"
        ) from None
    model.config._name_or_path = str(name)
    return LanguageModel(model.eval(), tokenizer)


def writes_texts(name: str | Path) -> bool:
    """Whether a name is that of the embedded language model, or of a folder that holds one by its looks."""
    folder = Path(name)
    is_folder = (folder / "config.json").is_file() and not (folder / "model_index.json").is_file()
    return str(name) in LANGUAGE_MODELS or is_folder


_EXPECTED = (
    f"{', '.join(LANGUAGE_MODELS)}, a folder of transformers with a causal language model and its tokenizer, or a "
    "reachable Hub id"
)
