"""One run of a pipeline for training: its pooled activations, and gradients put back into them.

A *place* of the loss is (activation name, call, block): the call counts the module's calls (denoising steps for a
denoiser), the block is one half of a batch that classifier-free guidance has doubled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

from ..pipelines.calling import accepts, call_with_gradients, denoisers_of, generators
from ..steering.activations import Recording, record_activations
from ..steering.addresses import Address
from ..steering.hooks import replaced
from ..steering.schedule import Progress
from .config import TrainingConfig
from .loss.pooling import pooling_of

Place = tuple[str, int, int]
Places = dict[Place, torch.Tensor]
Gradients = Callable[[Places], Places]


class Trajectory:
    """Runs a pipeline over its whole schedule and reads its activations.

    Args:
        pipe: a diffusers pipeline, frozen.
        modules: activation name -> module, as from `find_modules`.
        config: steps, guidance, pooling and how gradients run.
        progress: from `follow_schedule`.
        defaults: what the pipeline's user passes anyway; the config's own arguments go before them.
    """

    def __init__(
        self,
        pipe: Any,
        modules: Mapping[str, nn.Module],
        config: TrainingConfig,
        progress: Progress,
        defaults: Mapping[str, Any],
    ) -> None:
        self.pipe, self.modules, self.config, self.progress = pipe, modules, config, progress
        arguments = {**defaults, "output_type": _cheapest_output(pipe), **config.call_arguments}
        if accepts(pipe, "num_inference_steps"):
            arguments["num_inference_steps"] = config.num_inference_steps
        if config.guidance_scale is not None and accepts(pipe, "guidance_scale"):
            arguments["guidance_scale"] = config.guidance_scale
        self.arguments = arguments
        self.lengths: dict[str, int] = {}  # of the activations, in tokens, when they were first seen

    def record(self, prompts: Sequence[str], seeds: Sequence[int]) -> Places:
        """Pooled activations of a batch: place -> (n, d), or (n, tokens, d) if tokens are sampled.

        Gradients are attached if they are enabled.
        """
        with self._recording() as recording:
            self.call(prompts, seeds)
        return _places(recording, len(prompts))

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
                stack.enter_context(_checkpointed(self.pipe, self.progress))
            cut = None
            if not self.config.backprop_through_steps:
                cut = stack.enter_context(_cut(self.pipe, recording, len(prompts), gradients))
            self.call(prompts, seeds)
            recording.paused = True
            rest = {place: rows for place, rows in _places(recording, len(prompts)).items() if rows.requires_grad}
            pull = gradients(rest)
            tensors, grads = list(rest.values()), [pull[place] for place in rest]
            if cut is not None:
                tensors, grads = tensors + cut.tensors, grads + cut.grads
            if tensors:
                torch.autograd.backward(tensors, grads)

    def call(self, prompts: Sequence[str], seeds: Sequence[int]) -> None:
        """Run the pipeline on a batch, with gradients where they are enabled."""
        noise = generators(seeds)
        call_with_gradients(self.pipe, prompt=list(prompts), generator=noise, **self.arguments)

    @contextmanager
    def _recording(self) -> Iterator[Recording]:
        config = self.config
        with (
            pooling_of(
                self.pipe, config.pooled, count=config.tokens_per_sample, seed=config.seed, lengths=self.lengths
            ) as pool,
            record_activations(self.modules, pool=pool) as recording,
        ):
            yield recording


def _cheapest_output(pipe: Any) -> str:
    """The output type that leaves the autoencoder out, if the pipeline's code has it, else one that takes gradients."""
    return "latent" if '"latent"' in inspect.getsource(inspect.unwrap(type(pipe).__call__)) else "pt"


def _places(recording: Recording, batch: int) -> Places:
    """All that was recorded, in the order in which the modules ran."""
    return {
        (name, call, block): rows
        for name, call in recording.order
        for block, rows in enumerate(recording[name][call].split(batch))
    }


@contextmanager
def _checkpointed(pipe: Any, progress: Progress) -> Iterator[None]:
    """Within the context each call of a denoiser keeps its inputs only, and runs again in the backward pass.

    The denoiser is checkpointed as a whole, whatever its class; while it runs again, the progress reads what it read
    the first time, so that maps of the same step bin act.
    """
    with ExitStack() as stack:
        for model in denoisers_of(pipe):
            stack.enter_context(replaced(model, "forward", _run_again(model.forward, progress)))
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
    """What flows from text encoders into the denoiser: tensors, and the gradients gathered for them at every step."""

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


@contextmanager
def _cut(pipe: Any, recording: Recording, batch: int, gradients: Gradients) -> Iterator[_Cut]:
    """Within the context, each call of a denoiser goes backward as soon as it ends, and its output is detached.

    Latents then carry no gradient to the next step. Inputs that do carry one come from text encoders: they are
    replaced by stand-ins whose gradients add up over the steps, for one backward pass through the text encoders at
    the end.
    """
    cut = _Cut()
    names = {name for name in recording if Address.of(name).in_denoiser}
    done = 0

    def enter(model: nn.Module, args: Any, kwargs: Any) -> Any:
        return tree_map_only(torch.Tensor, cut.leaf, args), tree_map_only(torch.Tensor, cut.leaf, kwargs)

    def leave(model: nn.Module, args: Any, output: Any) -> Any:
        nonlocal done
        step: Places = {}
        for name, call in recording.order[done:]:
            if name in names:
                pooled = recording[name][call]
                step |= {(name, call, block): rows for block, rows in enumerate(pooled.split(batch))}
                recording[name][call] = pooled.detach()
        done = len(recording.order)
        attached = {place: rows for place, rows in step.items() if rows.requires_grad}
        if attached:
            pull = gradients(attached)
            recording.paused = True
            torch.autograd.backward(list(attached.values()), [pull[place] for place in attached])
            recording.paused = False
        return tree_map_only(torch.Tensor, torch.Tensor.detach, output)

    with ExitStack() as stack:
        for model in denoisers_of(pipe):
            stack.enter_context(model.register_forward_pre_hook(enter, with_kwargs=True))
            stack.enter_context(model.register_forward_hook(leave))
        yield cut
