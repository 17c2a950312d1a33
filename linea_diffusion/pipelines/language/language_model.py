"""`LinEASLanguageModel`: any causal language model of transformers with a dial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...errors import LineaError, check_seed, short
from ...shapeland import LANGUAGE_MODELS
from ...steering.calls.acted import guard_hooks
from ...steering.dial import Composition, Dial
from ...steering.language import LanguageModel, steerable
from ...steering.steer import steer
from ...steering.weights.fusing import Fusion
from ..adapter_methods import SteeringMethods
from ..adapters import Adapters, Strengths
from ..loading import Dtype, check_dtype
from .loading import load_language_model
from .tokens import padded, texts_of, tokens_of


class LinEASLanguageModel(SteeringMethods):
    """A language model whose activations are steered while it generates, with a strength for each call or each text.

    The wrapper shares the model and adds nothing to it: hooks live only during a call. Maps are loaded, chosen and
    fused as with `LinEASDiffusionPipeline`.

    Args:
        model: a causal language model of transformers, a `LanguageModel`, or a ``text-generation`` pipeline.
        tokenizer: of a model that brings none.

    Attributes:
        base: the `LanguageModel`.
        steering: adapter name -> `SteeringMaps`, in the order of loading.
        default_arguments: what `generate` passes to the model's own unless told otherwise.
    """

    def __init__(self, model: Any, tokenizer: Any = None) -> None:
        base = steerable(model) if tokenizer is None else LanguageModel(model, tokenizer)
        if not isinstance(base, LanguageModel):
            raise LineaError(
                f"got a {type(base).__name__}: expected a causal language model of transformers; for pictures use "
                "LinEASDiffusionPipeline"
            )
        self.base, self.steering = base, Adapters()
        self.default_arguments: dict[str, Any] = {}
        guard_hooks()

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        dtype: Dtype | None = None,
        torch_dtype: Dtype | None = None,
        **kwargs: Any,
    ) -> LinEASLanguageModel:
        """Load a model with its tokenizer: the embedded ``wordland-lm``, a folder of transformers, or a Hub id.

        Args:
            name: what to load; maps that `save_pretrained` put beside it are loaded, too.
            dtype: of the weights; float32 when left out.
            torch_dtype: its older name.
            **kwargs: passed to transformers' own ``from_pretrained``, such as ``device_map="auto"``.

        Raises:
            LineaError: nothing loadable there.
        """
        kind = check_dtype(dtype, torch_dtype)
        if isinstance(kind, Mapping):
            raise LineaError(f"got dtype {short(kind)} for a language model: expected one, such as torch.bfloat16")
        made = cls(load_language_model(name, kind, **kwargs))
        saved = Adapters()
        saved.load(Path(LANGUAGE_MODELS.get(str(name), name)))
        for adapter, maps in saved.items():
            made.load_steering(maps, adapter)
        made.steering.choice, made.steering.enabled = saved.choice, saved.enabled
        return made

    @property
    def model(self) -> Any:
        """The model of transformers."""
        return self.base.model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self.base.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the model reads tokens."""
        return self.base.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's weights."""
        return self.base.dtype

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, steering: {', '.join(self.steering) or 'none'})"

    def to(self, *args: Any, **kwargs: Any) -> LinEASLanguageModel:
        """Move the model and the maps; returns the wrapper."""
        self.model.to(*args, **kwargs)
        for maps in self.steering.values():
            maps.to(self.device)
        return self

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """Save model and tokenizer as transformers does, with the loaded adapters in ``steering/`` beside them.

        Args:
            folder: where to.
            **kwargs: passed to the model's ``save_pretrained``.

        Raises:
            LineaError: steering is fused into the weights that would be saved.
        """
        self.steering.refuse_fusion("save_pretrained")
        self.model.save_pretrained(folder, **kwargs)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)
        self.steering.save(Path(folder))

    def generate(
        self,
        prompts: str | Sequence[str] | None = None,
        *,
        strength: Strengths | None = None,
        composition: Composition = "sum",
        calibrated: bool | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate as the model does, steered: texts in, texts out; tokens in, tokens out.

        Args:
            prompts: one or several texts, which are padded on the left; left out where ``input_ids`` are given.
            strength: 0 is the model itself, token by token, 1 (the default when maps are loaded) the concept as
                learned. A list continues one prompt at each strength, in one batch; with a list of prompts it gives
                each its own, and all beams and sequences of a prompt have it. A dict gives each loaded adapter its
                strength.
            composition: how several adapters act together: their moves add up (``"sum"``), or one after the other.
            calibrated: how strengths are read, see `SteeringMaps.dial`.
            seed: of the sampling, which leaves the global generators alone; theirs when left out.
            **kwargs: of the model's own ``generate``: max_new_tokens, num_beams, do_sample ...

        Returns:
            Of texts the list of their continuations; of tokens what the model's ``generate`` returns.

        Raises:
            LineaError: a strength without loaded maps, not finite, or not one for each prompt; both or neither of
                prompts and ``input_ids``.
        """
        kwargs = {**self.default_arguments, **kwargs}
        dial = Dial(composition, calibrated=calibrated)
        self.steering.refuse_stale_fusion(self.base)
        setting = self.steering.at(strength, dial)
        if (prompts is None) == (kwargs.get("input_ids") is None):
            raise LineaError("got neither or both of prompts and input_ids: expected one of them")
        inputs, start = kwargs, 0
        if prompts is not None:
            texts = _spread([prompts] if isinstance(prompts, str) else list(prompts), setting.rows)
            ids, mask = padded(tokens_of(self.base, texts), self.base, "left")
            fill = {"pad_token_id": self._padding} if self._padding is not None else {}
            inputs, start = {"input_ids": ids, "attention_mask": mask, **fill, **kwargs}, ids.shape[1]
        with steer(self.base, setting.layers, dial), torch.no_grad(), _seeded(seed, self.device):
            made = self.model.generate(**inputs)
        if prompts is None:
            return made
        return texts_of(self.base, getattr(made, "sequences", made)[:, start:])

    @property
    def _padding(self) -> int | None:
        """What finished texts are filled up with, so that transformers need not guess it in a message."""
        config = getattr(self.model, "generation_config", None)
        known = getattr(config, "pad_token_id", None)
        return self.tokenizer.pad_token_id or self.tokenizer.eos_token_id if known is None else None

    def fuse_steering(
        self,
        strength: float | Mapping[str, float] | None = None,
        *,
        composition: Composition = "sum",
        calibrated: bool | None = None,
        **kwargs: Any,
    ) -> Fusion:
        """Fold the loaded maps into the weights, see `SteeringMethods.fuse_steering`; ``input_ids`` are read once."""
        dial = Dial(composition, calibrated=calibrated)
        ids = kwargs.pop("input_ids", torch.arange(8, device=self.device)[None])
        return self._fused(strength, dial, lambda: self.model(input_ids=ids, **kwargs))


def _spread(prompts: list[str], strengths: int | None) -> list[str]:
    """One prompt as often as there are strengths.

    Raises:
        LineaError: several prompts, and another number of strengths; or no prompt.
    """
    if not prompts:
        raise LineaError("got no prompts: expected some")
    if strengths is None or strengths == len(prompts):
        return prompts
    if len(prompts) == 1:
        return prompts * strengths
    raise LineaError(f"got {strengths} strengths and {len(prompts)} prompts: expected one strength for each")


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Within the context sampling draws from a seed; afterwards generators stand where they stood."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(check_seed(seed))
        yield
