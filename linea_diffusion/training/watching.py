"""Who looks on while maps are learned: a function of the user's, called after each iteration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from PIL import Image

from ..maps.steering_maps import SteeringMaps
from ..steering.addresses import Address

Pictures = Callable[[SteeringMaps, str | None, Sequence[float]], list[Image.Image]]
"""Of maps, a prompt (None for the concept's first), and strengths."""


@dataclass(frozen=True)
class TrainingState:
    """How a training stands after an iteration.

    Attributes:
        iteration: how many are done.
        iterations: of the whole training.
        concept: its name.
        loss: of the last iteration, the mean over places; iterations take turns in strengths, and so does the loss.
        losses: the part of it by activation name.
        maps: as they are, still being learned: to look at, not to change.
    """

    iteration: int
    iterations: int
    concept: str
    losses: Mapping[str, float]
    maps: SteeringMaps
    _pictures: Pictures = field(repr=False)

    @property
    def loss(self) -> float:
        """The sum of `losses`."""
        return sum(self.losses.values())

    @cached_property
    def losses_by_group(self) -> dict[str, float]:
        """The parts of the loss by component and kind of module, such as ``unet.attn1``."""
        groups: dict[str, float] = {}
        for name, loss in self.losses.items():
            group = group_of(name)
            groups[group] = groups.get(group, 0.0) + loss
        return groups

    @property
    def support(self) -> float:
        """The share of the maps' numbers that act, [0, 1]."""
        return self.maps.support

    def pictures(self, prompt: str | None = None, strengths: Sequence[float] = (0.0, 0.5, 1.0)) -> list[Image.Image]:
        """What is learned so far, from one noise; each takes as long as any picture does.

        Args:
            prompt: the concept's first source prompt when left out.
            strengths: as a share of the way in activations.
        """
        return self._pictures(self.maps, prompt, strengths)


Callback = Callable[[TrainingState], None]
"""Called after each iteration, by the main process; what it raises ends the training."""


def group_of(name: str) -> str:
    """An activation's component and the last word of its path: ``unet.down_blocks.0.attentions.1.attn1`` is
    ``unet.attn1``."""
    address = Address.of(name)
    words = [word for word in address.path.split(".") if not word.isdigit()]
    entry = f":{address.entry}" if address.entry else ""
    return ".".join([address.component, *words[-1:]]) + entry
