"""A language model as training sees it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from PIL import Image
from torch import nn

from ..concepts.concept import Concept
from ..concepts.prompt_values import SIDES
from ..errors import LineaError, short
from ..maps.facts import TEXT, Facts
from ..maps.steering_maps import SteeringMaps
from ..pipelines.calling import frozen
from ..pipelines.language.tokens import padded, tokens_of
from ..steering.addresses import model_name
from ..steering.calls.acted import guard_hooks
from ..steering.calls.call import RunningCall
from ..steering.calls.schedule import Progress
from ..steering.language import steerable
from ..steering.presets import find_modules
from ..steering.steer import steer
from .config import TrainingConfig
from .learning import stretched
from .preview import Preview
from .runs import OnIteration
from .state.identity import identity_of
from .watching import Callback, TrainingState

_DIFFUSION: dict[str, tuple[Any, ...]] = {
    "step_bins": (1,),
    "guidance_scale": (None, 1.0),
    "backprop_through_steps": (True,),
    "call_arguments": ({},),
}
"""Settings that only a schedule has a use for -> what leaves them alone."""


class LanguageRun:
    """The `Run` of a language model: one pass over the tokens of a batch of prompts, without a schedule.

    Args:
        model: a `LanguageModel`, or what `steerable` makes one of.
        config: pooling, and settings that a language model has no use for, which are refused.

    Attributes:
        pipe: the `LanguageModel`.
        schedule: which stands still.

    Raises:
        LineaError: no tokenizer, or settings for a schedule.
    """

    def __init__(self, model: Any, config: TrainingConfig) -> None:
        self.pipe, self.config, self.schedule = steerable(model), config, Progress()
        self._mask: torch.Tensor | None = None
        if self.pipe.tokenizer is None:
            raise LineaError("got a language model without its tokenizer: expected LanguageModel(model, tokenizer)")
        for name, idle in _DIFFUSION.items():
            if getattr(config, name) not in idle:
                raise LineaError(
                    f"got {name}={short(getattr(config, name))} for a language model, which has no denoising steps: "
                    f"expected it left out, or {idle[0]!r}; recipe_for(model) has the settings"
                )
        if config.pooled == "tokens":
            raise LineaError(
                "got pooling='tokens' for a language model, whose prompts have no common places: expected 'mean', over "
                "each prompt's own tokens; recipe_for(model) has the settings"
            )

    @property
    def device(self) -> torch.device:
        """Where the model reads tokens."""
        return self.pipe.device

    def modules(self, target_modules: str | Sequence[str]) -> dict[str, nn.Module]:
        """See `find_modules`.

        Raises:
            LineaError: no module matches.
        """
        return find_modules(self.pipe, target_modules)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """See `Run.frozen`."""
        guard_hooks()
        with ExitStack() as stack:
            stack.callback(setattr, self, "_mask", None)
            stack.enter_context(frozen(self.pipe))
            yield

    def forward(self, prompts: Sequence[str], seeds: Sequence[int]) -> None:
        """Read the prompts, padded on the right, where nothing that comes before can see it."""
        ids, mask = padded(tokens_of(self.pipe, prompts), self.pipe, "right")
        self._mask = mask.bool()
        model = self.pipe.model
        known = inspect.signature(getattr(model, "_orig_mod", model).forward).parameters
        few = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        model(input_ids=ids, attention_mask=mask, use_cache=False, **few)

    def segments(self) -> list[nn.Module]:
        """The model's blocks, which gradient checkpointing runs again one by one."""
        lists = [one for one in self.pipe.model.modules() if isinstance(one, nn.ModuleList) and len(one)]
        sizes = [sum(parameter.numel() for parameter in one.parameters()) for one in lists]
        return list(lists[sizes.index(max(sizes))]) if lists else [self.pipe.model]

    def steered(self, maps: SteeringMaps, strength: float) -> AbstractContextManager[Any]:
        """See `steer`."""
        layers = [(dict(maps.named_maps()), torch.tensor(strength))]
        return steer(self.pipe, layers, call=RunningCall(progress=self.schedule))

    def text_mask(self, name: str) -> torch.Tensor | None:
        """The prompts' own tokens."""
        return self._mask

    def check(self, concept: Concept, size: int | None) -> None:
        """Look at the tokens of a concept's prompts.

        Raises:
            LineaError: a prompt without tokens, or one that is longer than the model reads, or the same tokens on both
                sides.
        """
        longest = getattr(self.pipe.config, "max_position_embeddings", None)
        reads = {side: tokens_of(self.pipe, getattr(concept, side)) for side in SIDES}
        for side, rows in reads.items():
            for prompt, ids in zip(getattr(concept, side), rows, strict=True):
                if longest is not None and len(ids) > longest:
                    raise LineaError(
                        f"got the {side} prompt {short(prompt)} of concept {concept.name!r} with {len(ids)} tokens: "
                        f"expected at most the {longest} that the model reads"
                    )
        source, target = ({tuple(ids) for ids in reads[side]} for side in SIDES)
        if source == target:
            raise LineaError(
                f"got concept {concept.name!r}, whose source and target prompts are the same tokens to the model: "
                "expected two sets that differ in words that its tokenizer knows"
            )

    def watched(self, concept: Concept, preview: Preview | None, callback: Callback | None) -> OnIteration:
        """What calls back after iterations of a concept's training.

        Raises:
            LineaError: a preview, or a callback that asks for pictures.
        """
        if preview is not None:
            raise _no_pictures()

        def pictures(maps: SteeringMaps, prompt: str | None, strengths: Sequence[float]) -> list[Image.Image]:
            raise _no_pictures()

        def look(done: int, losses: Mapping[str, float], maps: SteeringMaps) -> None:
            if callback is not None:
                callback(TrainingState(done, self.config.iterations, concept.name, losses, maps, pictures))

        return look

    def finished(self, learned: SteeringMaps, concept: Concept) -> SteeringMaps:
        """Stretched as the config says; strengths are shares of the way in activations."""
        return stretched(learned, self.config.stretch or 1.0)

    def facts(self) -> Facts:
        """The name and the class of the model."""
        name, kind = model_name(self.pipe) or "unknown", type(getattr(self.pipe.model, "_orig_mod", self.pipe.model))
        return Facts(base_model=name, base_class=kind.__name__, task=TEXT)

    def identity(self) -> dict[str, Any]:
        """See `identity_of`."""
        return identity_of(self.pipe.components)


def _no_pictures() -> LineaError:
    return LineaError("got a wish for pictures of a language model's training: expected none, because it makes texts")
