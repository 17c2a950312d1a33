"""What training knows of a model: the smallest door through which a pipeline, or any other model, learns maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import nn

from ..concepts.concept import Concept
from ..maps.facts import Facts
from ..maps.steering_maps import SteeringMaps
from ..steering.calls.schedule import Progress

Place = tuple[str, int, int]
"""(activation name, call, block): the call counts the module's calls (denoising steps for a denoiser), the block is one
half of a batch that classifier-free guidance has doubled."""
Places = dict[Place, torch.Tensor]
OnIteration = Callable[[int, Mapping[str, float], SteeringMaps], None]
"""Called after iterations with how many are done, the part of the loss that each activation had, by name, and the maps
as they are."""


class Run(Protocol):
    """A model that runs prompts from start to end while its activations are read and moved.

    `DiffusionRun` is that of a diffusers pipeline, `LanguageRun` that of a language model. What runs the model is
    asked within `frozen` only.

    Attributes:
        schedule: where in its schedule the model is; it stays at the start in models that have no steps.
    """

    schedule: Progress

    @property
    def device(self) -> torch.device:
        """Where maps belong."""

    def modules(self, target_modules: str | Sequence[str]) -> dict[str, nn.Module]:
        """Activation name -> module, in the model's own order.

        Raises:
            LineaError: a preset or pattern that matches none.
        """

    def frozen(self) -> AbstractContextManager[None]:
        """Within the context no weight wants a gradient, and `schedule` follows the model."""

    def forward(self, prompts: Sequence[str], seeds: Sequence[int]) -> None:
        """Run a batch from start to end, one noise a prompt, with gradients where they are enabled.

        Modules get rows in the order of the prompts, or several such blocks of rows one after the other.
        """

    def segments(self) -> Sequence[nn.Module]:
        """The models that run once a step of the schedule: what is checkpointed, and cut between."""

    def steered(self, maps: SteeringMaps, strength: float) -> AbstractContextManager[Any]:
        """Within the context the model is steered, with gradients for maps that want them."""

    def text_mask(self, name: str) -> torch.Tensor | None:
        """Which tokens of an activation enter its mean in the present call, (n, tokens), bool; None for all."""

    def check(self, concept: Concept, size: int | None) -> None:
        """Look at what the model reads of a concept's prompts, `size` of them at once.

        Raises:
            LineaError: the same of the sources as of the targets.
        """

    def finished(self, learned: SteeringMaps, concept: Concept) -> SteeringMaps:
        """Learned maps as users get them: stretched, and with an even dial where one is wanted."""

    def facts(self) -> Facts:
        """What maps say of the model that they were learned on."""

    def identity(self) -> dict[str, Any]:
        """What else changes the numbers that it computes, JSON-able: a training goes on only if it is the same."""
