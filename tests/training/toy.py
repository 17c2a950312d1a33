"""A model that is no pipeline: a `Run` of two small layers, on which training is over in a blink."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from linea_diffusion import Concept, SteeringMaps, TrainingConfig
from linea_diffusion.maps.facts import Facts
from linea_diffusion.steering.activations import edit_activations
from linea_diffusion.steering.calls.schedule import Progress
from linea_diffusion.training.iteration import batches_of
from linea_diffusion.training.learning import for_concept, learn, states_in, stretched
from linea_diffusion.training.state.stopping import StopRequest

from ..conftest import seeded

FEATURES, TOKENS = 6, 4
COLOURS = ("red", "blue", "green", "teal", "pink", "grey")
TOYS = Concept.from_template([f"a {colour} heart" for colour in COLOURS], "{prompt}, neon")


class ToyRun:
    """A reader of prompts, and a mover that runs once a step, from noise.

    Args:
        steps: of the schedule.
        guided: whether the mover also runs rows without the prompt, as with classifier-free guidance.
        detached: whether no gradient goes from step to step, written out by hand.
    """

    device = torch.device("cpu")

    def __init__(self, steps: int = 3, *, guided: bool = False, detached: bool = False) -> None:
        self.schedule, self.guided, self.detached = Progress(total=steps), guided, detached
        layers = {name: nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Tanh()) for name in ("reader", "mover")}
        self.models = nn.ModuleDict(layers)
        draw = seeded(0)
        for parameter in self.models.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=draw) / FEATURES**0.5)

    def modules(self, target_modules: str | Sequence[str]) -> dict[str, nn.Module]:
        return {name: module for name, module in self.models.named_modules() if re.fullmatch("(reader|mover).0", name)}

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.models.requires_grad_(False)
        yield

    def forward(self, prompts: Sequence[str], seeds: Sequence[int]) -> None:
        text = self.models["reader"](torch.stack([_words(prompt) for prompt in prompts])[:, None])
        x = torch.stack([torch.randn(TOKENS, FEATURES, generator=seeded(seed)) for seed in seeds])
        if self.guided:
            text, x = torch.cat([torch.zeros_like(text), text]), torch.cat([x, x])
        for step in range(self.schedule.total):
            self.schedule.move_to(step)
            x = x + self.models["mover"]((x.detach() if self.detached else x) + text)

    def segments(self) -> list[nn.Module]:
        return [self.models["mover"]]

    def steered(self, maps: SteeringMaps, strength: float) -> AbstractContextManager[Any]:
        def edit_of(affine):
            return lambda z: affine.move(strength, fraction=self.schedule.fraction).apply(z, axis=-1)

        edits = {name: edit_of(affine) for name, affine in maps.named_maps()}
        return edit_activations(dict(self.models.named_modules()), edits)

    def text_mask(self, name: str) -> torch.Tensor | None:
        return None

    def check(self, concept: Concept, size: int | None) -> None:
        pass

    def facts(self) -> Facts:
        return Facts(base_model="toy", base_class=type(self).__name__)

    def identity(self) -> dict[str, Any]:
        return {}


def _words(prompt: str) -> torch.Tensor:
    """(d,): each word adds a vector of its own."""
    return sum(torch.randn(FEATURES, generator=seeded(zlib.crc32(word.encode()))) for word in prompt.split())


def train_toy(
    concept: Concept,
    config: TrainingConfig,
    *,
    checkpoint: Path | None = None,
    checkpoint_every: int = 10,
    stop: StopRequest | None = None,
    run: ToyRun | None = None,
) -> SteeringMaps:
    """`train_steering_maps` on a `ToyRun`, but for the dial."""
    with ExitStack() as stack:
        batches = stack.enter_context(batches_of(run or ToyRun(), for_concept(config, concept)))
        states = None if checkpoint is None else stack.enter_context(states_in(checkpoint, batches, concept))
        return stretched(learn(batches, concept, states, every=checkpoint_every, stop=stop), config.stretch or 1.0)


def told(maps) -> dict:
    """All that maps say of their training but the time that it took."""
    return {name: fact for name, fact in maps.metadata.items() if name != "training_seconds"}


def flat(maps: SteeringMaps) -> torch.Tensor:
    """All numbers of some maps."""
    return torch.cat([parameter.detach().flatten() for parameter in maps.parameters()])


def differ(first: SteeringMaps, second: SteeringMaps) -> bool:
    """Whether two trainings have led to other shifts, or other modules."""
    ours, theirs = ({name: affine.shift for name, affine in maps.named_maps()} for maps in (first, second))
    return ours.keys() != theirs.keys() or any(not torch.equal(ours[name], theirs[name]) for name in ours)


def stopping_after(iterations: int) -> StopRequest:
    """A request that comes while an iteration runs: training asks once before each."""
    calls = []

    class Counting(StopRequest):
        def __call__(self) -> bool:
            calls.append(1)
            return len(calls) > iterations

    return Counting()
