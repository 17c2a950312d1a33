"""Which rows of a batch run with the prompt, and which with the negative one, for classifier-free guidance.

Pipelines do it in three ways: one doubled batch, [uncond, cond] or the other way round; or two calls. Text encoders run
the prompts first and the negative prompts after them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import nn

from .modules import is_denoiser, is_text_encoder

SteeringGuidance = Literal["both", "cond"]
STEERING_GUIDANCE = ("both", "cond")


class Guidance:
    """The roles of the rows that are running now.

    Args:
        prompts: how many prompts a call has.
        images: pictures per prompt.

    Attributes:
        on: whether roles matter; without, every row counts as conditional.
    """

    def __init__(self, prompts: int = 1, images: int = 1, *, on: bool = False) -> None:
        self.prompts, self.images, self.on = prompts, images, on
        self.roles: dict[str, tuple[bool, ...]] = {}
        self._read: dict[str, int] = {}
        self._meant: list[torch.Tensor] = []
        self._thread = threading.get_ident()

    def conditional(self, component: str, batch: int, device: torch.device) -> torch.Tensor:
        """Which rows of a batch run with the prompt, (batch, 1) bool."""
        roles = self.roles.get(component, (True,))
        if batch % len(roles):
            roles = (True,)
        return torch.tensor(roles, device=device).repeat_interleave(batch // len(roles)).reshape(-1, 1)

    def meet_text(self, component: str, batch: int) -> None:
        """A text encoder runs: the prompts come first."""
        read = self._read.get(component, 0)
        self.roles[component] = (read < self.prompts,)
        self._read[component] = read + batch

    def meet_embeddings(self, embeddings: torch.Tensor) -> None:
        """What the prompts were encoded to."""
        self._meant.append(embeddings)

    def meet_denoiser(self, component: str, inputs: list[torch.Tensor], context: str | None) -> None:
        """A denoiser runs on some inputs, within a named context of diffusers' caches or without one."""
        rows = self.prompts * self.images
        blocks = max(len(inputs[0]) // rows, 1) if inputs else 1
        if blocks == 1 and context is not None:
            self.roles[component] = (not context.startswith("uncond"),)
            return
        found = self._recognised(inputs, rows, blocks)
        usual = (True,) if blocks == 1 else (False, *(True,) * (blocks - 1))
        if found is None and blocks == 1 and self._meant:
            found = (not self._recognised_elsewhere(inputs),)
        self.roles[component] = found or usual

    def own(self) -> bool:
        """Whether this is the thread that the roles are followed in."""
        return threading.get_ident() == self._thread

    def _recognised(self, inputs: list[torch.Tensor], rows: int, blocks: int) -> tuple[bool, ...] | None:
        """The roles by where the embeddings of the prompts are among the inputs; None if they are nowhere."""
        for meant in self._meant:
            for given in inputs:
                if given.shape[1:] == meant.shape[1:] and len(given) == rows * blocks and len(meant) == rows:
                    same = tuple(torch.equal(block.to(meant), meant) for block in given.split(rows))
                    if any(same):
                        return same
        return None

    def _recognised_elsewhere(self, inputs: list[torch.Tensor]) -> bool:
        """Whether some input has the form of the prompts' embeddings and is not they: the negative prompts'."""
        return any(given.shape == meant.shape for meant in self._meant for given in inputs[1:])


@contextmanager
def follow_guidance(pipe: Any, prompts: int, images: int) -> Iterator[Guidance]:
    """Within the context the yielded `Guidance` follows the pipeline's calls."""
    guidance = Guidance(prompts, images, on=True)
    with ExitStack() as stack:
        for owner in [pipe, *(part for part in vars(pipe).values() if hasattr(part, "encode_prompt"))]:
            if hasattr(owner, "encode_prompt"):
                stack.enter_context(_after(owner, "encode_prompt", lambda result: _first(result, guidance)))
        for component, model in pipe.components.items():
            if isinstance(model, nn.Module) and is_text_encoder(component):
                stack.enter_context(model.register_forward_pre_hook(_text_hook(guidance, component), with_kwargs=True))
            elif isinstance(model, nn.Module) and is_denoiser(component):
                context = stack.enter_context(_named_context(model))
                hook = _denoiser_hook(guidance, component, context)
                stack.enter_context(model.register_forward_pre_hook(hook, with_kwargs=True))
        yield guidance


def _text_hook(guidance: Guidance, component: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        tensors = _tensors(inputs, keywords)
        if guidance.own() and tensors:
            guidance.meet_text(component, len(tensors[0]))

    return hook


def _denoiser_hook(guidance: Guidance, component: str, context: list[str | None]) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if guidance.own() and not torch.compiler.is_compiling():
            guidance.meet_denoiser(component, _tensors(inputs, keywords), context[-1])

    return hook


def _tensors(inputs: tuple[Any, ...], keywords: dict[str, Any]) -> list[torch.Tensor]:
    """Tensors among the arguments of a model, those within dictionaries and lists included; the sample comes first."""
    found: list[torch.Tensor] = []

    def collect(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            if value.ndim:
                found.append(value)
        elif isinstance(value, dict):
            for part in value.values():
                collect(part)
        elif isinstance(value, list | tuple):
            for part in value:
                collect(part)

    collect(inputs)
    collect(keywords)
    sample = keywords.get("hidden_states", keywords.get("sample"))
    if not inputs and isinstance(sample, torch.Tensor):
        found.insert(0, sample)
    return found


def _first(result: Any, guidance: Guidance) -> None:
    """diffusers' encode_prompt gives what the prompts were encoded to first."""
    first = result[0] if isinstance(result, tuple) and result else result
    if isinstance(first, torch.Tensor) and guidance.own():
        guidance.meet_embeddings(first)


@contextmanager
def _after(owner: Any, name: str, told: Callable[[Any], None]) -> Iterator[None]:
    """Within the context a method of one object tells what it returned."""
    inner, method = vars(owner).get(name), getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        told(result)
        return result

    object.__setattr__(owner, name, wrapped)
    try:
        yield
    finally:
        if inner is None:
            object.__delattr__(owner, name)
        else:
            object.__setattr__(owner, name, inner)


@contextmanager
def _named_context(model: nn.Module) -> Iterator[list[str | None]]:
    """Within the context the last entry of the yielded list is the name of the model's open ``cache_context``."""
    names: list[str | None] = [None]
    inner = getattr(model, "cache_context", None)
    if inner is None:
        yield names
        return

    @contextmanager
    def cache_context(name: str, *args: Any, **kwargs: Any) -> Iterator[None]:
        names.append(name)
        try:
            with inner(name, *args, **kwargs):
                yield
        finally:
            names.pop()

    object.__setattr__(model, "cache_context", cache_context)
    try:
        yield names
    finally:
        object.__delattr__(model, "cache_context")
