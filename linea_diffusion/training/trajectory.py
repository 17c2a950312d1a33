"""One run of a model for training: its pooled activations, and gradients put back into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

from ..steering.activations import Recording, record_activations
from ..steering.calls.schedule import Progress
from ..steering.hooks import replaced
from .config import TrainingConfig
from .loss.pooling import pooling_of
from .runs import Places, Run

Gradients = Callable[[Places], Places]


class Trajectory:
    """Runs a model over its whole schedule and reads its activations.

    Args:
        run: the model, frozen.
        modules: activation name -> module, as from `Run.modules`.
        config: pooling and how gradients run.

    Attributes:
        stepped: the activations that are seen once a step, within the model's segments.
        lengths: activation name -> its tokens when it was first seen.
    """

    def __init__(self, run: Run, modules: Mapping[str, nn.Module], config: TrainingConfig) -> None:
        self.run, self.modules, self.config = run, modules, config
        within = {module for segment in run.segments() for module in segment.modules()}
        self.stepped = {name for name, module in modules.items() if module in within}
        self.lengths: dict[str, int] = {}

    def record(self, prompts: Sequence[str], seeds: Sequence[int]) -> Places:
        """Pooled activations of a batch: place -> (n, d), or (n, tokens, d) if tokens are sampled.

        Gradients are attached if they are enabled.
        """
        with self._recording() as recording:
            self.run.forward(prompts, seeds)
        return _places(recording, recording.order, len(prompts))

    def backward(self, prompts: Sequence[str], seeds: Sequence[int], gradients: Gradients) -> None:
        """Run a batch and send gradients from its activations back into whatever wants them.

        Args:
            prompts: the batch.
            seeds: one per prompt.
            gradients: asked for the gradient of the loss with respect to some places' activations, given these.
                With ``backprop_through_steps`` it is asked once, for all; without, step by step.
        """
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            recording = stack.enter_context(self._recording())
            if self.config.gradient_checkpointing:
                stack.enter_context(_checkpointed(self.run))
            cut = None
            if not self.config.backprop_through_steps:
                cut = stack.enter_context(self._cut(recording, len(prompts), gradients))
            self.run.forward(prompts, seeds)
            recording.paused = True
            tensors, grads = _pulled(_places(recording, recording.order, len(prompts)), gradients)
            if cut is not None:
                tensors, grads = tensors + cut.tensors, grads + cut.grads
            if tensors:
                torch.autograd.backward(tensors, grads)

    def _recording(self) -> Any:
        pool = pooling_of(self.config, self.run.text_mask, self.stepped, self.lengths)
        return record_activations(self.modules, pool=pool)

    @contextmanager
    def _cut(self, recording: Recording, batch: int, gradients: Gradients) -> Iterator[_Cut]:
        """Within the context, each call of a segment goes backward as soon as it ends, and its output is detached.

        Latents then carry no gradient to the next step. Inputs that do carry one come from text encoders: they are
        replaced by stand-ins whose gradients add up over the steps, for one backward pass through the text encoders
        at the end.
        """
        cut, done = _Cut(), 0

        def enter(model: nn.Module, args: Any, kwargs: Any) -> Any:
            return tree_map_only(torch.Tensor, cut.leaf, args), tree_map_only(torch.Tensor, cut.leaf, kwargs)

        def leave(model: nn.Module, args: Any, output: Any) -> Any:
            nonlocal done
            new = [(name, call) for name, call in recording.order[done:] if name in self.stepped]
            done = len(recording.order)
            step = _places(recording, new, batch)
            for name, call in new:
                recording[name][call] = recording[name][call].detach()
            tensors, grads = _pulled(step, gradients)
            if tensors:
                recording.paused = True
                torch.autograd.backward(tensors, grads)
                recording.paused = False
            return tree_map_only(torch.Tensor, torch.Tensor.detach, output)

        with ExitStack() as stack:
            for model in self.run.segments():
                stack.enter_context(model.register_forward_pre_hook(enter, with_kwargs=True))
                stack.enter_context(model.register_forward_hook(leave))
            yield cut


def _places(recording: Recording, calls: Sequence[tuple[str, int]], batch: int) -> Places:
    """What was recorded in some calls of modules, in their order."""
    return {
        (name, call, block): rows
        for name, call in calls
        for block, rows in enumerate(recording[name][call].split(batch))
    }


def _pulled(places: Places, gradients: Gradients) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The activations that want gradients, and the gradients that they get."""
    attached = {place: rows for place, rows in places.items() if rows.requires_grad}
    pull = gradients(attached)
    return list(attached.values()), [pull[place] for place in attached]


@contextmanager
def _checkpointed(run: Run) -> Iterator[None]:
    """Within the context each call of a segment keeps its inputs only, and runs again in the backward pass.

    A segment is checkpointed as a whole, whatever its class; while it runs again, the schedule reads what it read the
    first time, so that maps of the same step bin act.
    """
    with ExitStack() as stack:
        for model in run.segments():
            stack.enter_context(replaced(model, "forward", _run_again(model.forward, run.schedule)))
        yield


def _run_again(forward: Callable[..., Any], progress: Progress) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        index = progress.index

        def run(*args: Any, **kwargs: Any) -> Any:
            with progress.at(index):
                return forward(*args, **kwargs)

        return checkpoint(run, *args, use_reentrant=False, **kwargs)

    return wrapped


class _Cut:
    """What flows into the segments from elsewhere: tensors, and the gradients gathered for them at every step."""

    def __init__(self) -> None:
        self.leaves: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def leaf(self, tensor: torch.Tensor) -> torch.Tensor:
        """A stand-in that gathers gradients, the same for the same tensor."""
        if not tensor.requires_grad:
            return tensor
        if id(tensor) not in self.leaves:
            self.leaves[id(tensor)] = (tensor, tensor.detach().requires_grad_())
        return self.leaves[id(tensor)][1]

    @property
    def tensors(self) -> list[torch.Tensor]:
        return [tensor for tensor, leaf in self.leaves.values() if leaf.grad is not None]

    @property
    def grads(self) -> list[torch.Tensor]:
        return [leaf.grad for _, leaf in self.leaves.values() if leaf.grad is not None]
