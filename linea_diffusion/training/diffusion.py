"""A diffusers pipeline as training sees it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils._pytree import tree_map_only

from ..concepts.concept import Concept
from ..concepts.notices import noticing
from ..errors import LineaError
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..pipelines.calling import call_with_gradients, denoisers_of, frozen, generators
from ..pipelines.modular import accepts, is_modular
from ..pipelines.prompts import repeat_arguments
from ..steering.addresses import Address, model_name
from ..steering.calls.acted import guard_hooks
from ..steering.calls.caches import StepCaches
from ..steering.calls.call import RunningCall
from ..steering.calls.schedule import Progress, follow_schedule, stepping_schedulers
from ..steering.presets import find_modules
from ..steering.steer import steer
from .calibration.reach import with_even_dial
from .config import TrainingConfig
from .preview import Preview, pictures_of
from .prompts_read import check_prompts_read, follow_masks
from .runs import OnIteration
from .state.identity import identity_of
from .watching import Callback, TrainingState


class DiffusionRun:
    """The `Run` of a pipeline: called as its user calls it, over its whole schedule, with gradients left on.

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`, whose default arguments count too.
        config: steps, guidance and further arguments of calls; whether masks of texts are needed.

    Attributes:
        pipe: the base pipeline.
        arguments: of its calls; the config's own go before the user's.
        schedule: see `Run`.
    """

    def __init__(self, pipe: Any, config: TrainingConfig) -> None:
        self.pipe, self.config, self.schedule = getattr(pipe, "base", pipe), config, Progress()
        self.arguments = {**getattr(pipe, "default_arguments", {}), **_cheapest_output(self.pipe)}
        self.arguments |= config.call_arguments
        if accepts(self.pipe, "num_inference_steps"):
            self.arguments["num_inference_steps"] = config.num_inference_steps
        if config.guidance_scale is not None and accepts(self.pipe, "guidance_scale"):
            self.arguments["guidance_scale"] = config.guidance_scale
        self._masks: dict[str, torch.Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the pipeline is."""
        return self.pipe.device

    def modules(self, target_modules: str | Sequence[str]) -> dict[str, nn.Module]:
        """See `find_modules`.

        Raises:
            LineaError: no module matches, or a masked mean without a text encoder's module.
        """
        modules = find_modules(self.pipe, target_modules)
        if self.config.pooling == "masked-mean" and not any(Address.of(name).in_text_encoder for name in modules):
            raise LineaError(
                f"got pooling='masked-mean' with target_modules={target_modules!r}, none of which is in a text "
                "encoder: expected some, such as 'text-attention', or pooling='mean'"
            )
        return modules

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """See `Run.frozen`; prompts that are cut are told by `check` alone."""
        guard_hooks()
        if cached := StepCaches(self.pipe.components.values()).models:
            names = [name for name, part in self.pipe.components.items() if part in cached]
            raise LineaError(
                f"got {names[0]!r} with a step cache, whose layers do not run in every step: expected a training "
                f"without; call pipe.{names[0]}.disable_cache() first, and enable_cache for pictures"
            )
        with ExitStack() as stack:
            stack.callback(self._let_go)
            stack.enter_context(frozen(self.pipe))
            stack.enter_context(noticing(self.pipe))
            self.schedule = stack.enter_context(follow_schedule(self.pipe))
            if self.config.pooling == "masked-mean":
                self._masks = stack.enter_context(follow_masks(self.pipe))
            yield

    def _let_go(self) -> None:
        """Some schedulers remember their last inputs: gradients and all that leads to them go with the training."""
        for scheduler in stepping_schedulers(self.pipe):
            for name, value in vars(scheduler).items():
                if isinstance(value, torch.Tensor | list):
                    setattr(scheduler, name, tree_map_only(torch.Tensor, torch.Tensor.detach, value))

    def forward(self, prompts: Sequence[str], seeds: Sequence[int]) -> None:
        """Call the pipeline; classifier-free guidance doubles the rows of denoisers."""
        arguments = repeat_arguments(self.arguments, len(prompts), self.pipe)
        call_with_gradients(self.pipe, prompt=list(prompts), generator=generators(seeds), **arguments)

    def segments(self) -> list[nn.Module]:
        """The denoisers."""
        return denoisers_of(self.pipe)

    def steered(self, maps: SteeringMaps, strength: float) -> AbstractContextManager[Any]:
        """See `steer`."""
        layers = [(dict(maps.named_maps()), torch.tensor(strength))]
        return steer(self.pipe, layers, call=RunningCall(progress=self.schedule))

    def text_mask(self, name: str) -> torch.Tensor | None:
        """That of a text encoder's present call; denoisers have none."""
        return self._masks.get(Address.of(name).component)

    def check(self, concept: Concept, size: int | None) -> None:
        """Warn of prompts that text encoders cut.

        Raises:
            LineaError: the model reads the same of the sources as of the targets.
        """
        check_prompts_read(self.pipe, concept, lambda prompts: self.forward(prompts, range(len(prompts))), size=size)

    def watched(self, concept: Concept, preview: Preview | None, callback: Callback | None) -> OnIteration:
        """What shows maps, and calls back, after iterations of a concept's training."""
        total = self.config.iterations

        def pictures(maps: SteeringMaps, prompt: str | None, strengths: Sequence[float]) -> list[Image.Image]:
            return pictures_of(self.pipe, maps, prompt or concept.source[0], self.arguments, strengths)

        def look(done: int, losses: Mapping[str, float], maps: SteeringMaps) -> None:
            if preview is not None and preview.is_due(done, total):
                title = f"{concept.name} after {done} of {total} iterations"
                preview.show(self.pipe, maps, concept.source[0], self.arguments, title)
            if callback is not None:
                callback(TrainingState(done, total, concept.name, losses, maps, pictures))

        return look

    def finished(self, learned: SteeringMaps, concept: Concept) -> SteeringMaps:
        """See `with_even_dial`."""
        return with_even_dial(self.pipe, learned, concept, self.config, self.arguments)

    def facts(self) -> Facts:
        """The name and the class of the pipeline."""
        return Facts(base_model=model_name(self.pipe) or "unknown", base_class=type(self.pipe).__name__)

    def identity(self) -> dict[str, Any]:
        """See `identity_of`."""
        return identity_of(self.pipe.components)


def _cheapest_output(pipe: Any) -> dict[str, str]:
    """The output type that leaves the autoencoder out, if the pipeline's code has it, else one that takes gradients.

    Modular pipelines do without the blocks behind their schedule.
    """
    if is_modular(pipe):
        return {}
    has_latents = '"latent"' in inspect.getsource(inspect.unwrap(type(pipe).__call__))
    return {"output_type": "latent" if has_latents else "pt"}
