"""Which prompt each row of a running batch belongs to, and whether it runs with the prompt or the negative one.

Pipelines lay their batches out in several ways: pictures of a prompt side by side; with classifier-free guidance a
second block, [uncond, cond] or the other way round, or a second call; prompts one after the other; tokens of all
pictures in one long sequence. Text encoders run the prompts first and the negative prompts after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ...errors import LineaError
from ..activations import Site
from ..addresses import LANGUAGE_MODEL, is_text_encoder
from ..hooks import Listener, listen
from .scopes import Scope


class BatchRows:
    """The rows that are running now.

    Args:
        prompts: how many prompts a call has.
        images: pictures per prompt.
        only_conditional: whether rows of the negative prompts are left alone.
    """

    def __init__(self, prompts: int = 1, images: int = 1, *, only_conditional: bool = False) -> None:
        self.prompts, self.images, self.only_conditional = prompts, images, only_conditional
        self._text_roles: dict[str, bool] = {}
        self._roles: tuple[bool, ...] = (True,)
        self._batch: int | None = None
        self._lengths: list[list[int]] = []
        self._read: dict[str, int] = {}
        self._encodings: list[torch.Tensor] = []

    def owners(self, site: Site, rows: int, turn: int, prompts: int, images: int | None = None) -> list[int]:
        """The prompt of each row of an activation.

        Args:
            site: of the activation.
            rows: of the activation.
            turn: how many times it was seen before in this call, for text encoders that run prompt by prompt.
            prompts: how many there are.
            images: pictures of each; None for those of the call.

        Raises:
            LineaError: the rows cannot be dealt out.
        """
        images = self.images if images is None else images
        if site.address.in_language_model:
            return self._sequences(site, rows, prompts)
        if site.address.in_text_encoder:
            if rows == 1:
                return [turn % prompts]
            images = images if rows % (prompts * images) == 0 and rows != prompts else 1
            return self._blocks(site, rows, rows, prompts, images)
        batch = rows if self._batch is None else self._batch
        return self._spread(site, self._blocks(site, batch, rows, prompts, images), rows)

    def conditional(self, site: Site, rows: int) -> list[bool]:
        """Whether each row of an activation runs with the prompt."""
        if site.address.in_text_encoder:
            return [self._text_roles.get(site.component, True)] * rows
        batch = rows if self._batch is None else self._batch
        if batch % len(self._roles):
            return [True] * rows
        return self._spread(site, [role for role in self._roles for _ in range(batch // len(self._roles))], rows)

    def _blocks(self, site: Site, batch: int, rows: int, prompts: int, images: int) -> list[int]:
        """The prompts of a batch: each one's pictures side by side, and all that as often as it fits."""
        block = [prompt for prompt in range(prompts) for _ in range(images)]
        if batch % len(block):
            raise LineaError(
                f"got {prompts} strengths and a batch of {rows} at {site.name!r}: expected one strength per prompt"
            )
        return block * (batch // len(block))

    def _sequences(self, site: Site, rows: int, prompts: int) -> list[int]:
        """The prompts of what a language model writes: each one's beams and sequences side by side."""
        if rows % prompts:
            raise LineaError(
                f"got {prompts} strengths and a batch of {rows} at {site.name!r}: expected one strength per prompt"
            )
        return [row * prompts // rows for row in range(rows)]

    def _spread(self, site: Site, values: list[Any], rows: int) -> list[Any]:
        """Values of the samples of a batch for rows that are its tokens, sample after sample."""
        batch = len(values)
        if rows == batch:
            return values
        if rows < batch and rows % (self.prompts * self.images) == 0:  # some layers run a perturbed block by itself
            return values[-rows:] if rows == self.prompts * self.images else values[:rows]
        lengths = next(
            (sizes for counts in self._lengths if (sizes := _padded(counts, rows))),
            [rows // batch] * batch,
        )
        if sum(lengths) != rows or len(lengths) != batch:
            raise LineaError(
                f"got a strength for each picture at {site.name!r}, where {batch} pictures share {rows} rows: expected "
                "one strength for all, or maps without this activation"
            )
        return [value for value, length in zip(values, lengths, strict=True) for _ in range(length)]

    def meet_text(self, component: str, batch: int) -> None:
        """A text encoder runs: the prompts come first."""
        read = self._read.get(component, 0)
        self._text_roles[component] = read < self.prompts
        self._read[component] = read + batch

    def meet_encoded(self, arguments: dict[str, Any], result: Any) -> None:
        """diffusers' encode_prompt gives first what the prompts were encoded to, in one tensor or one for each."""
        first = result[0] if isinstance(result, tuple) and result else result
        if isinstance(first, list) and first:
            first = first[0]
        if isinstance(first, torch.Tensor):
            self._encodings.append(first)

    def meet_model(self, arguments: list[Any], context: str | None) -> None:
        """A denoiser, or what helps one, runs on some arguments, within a named cache context or without.

        Some help denoisers with layers of theirs, so that what counts is which model ran last.
        """
        inputs = [value for value in arguments if isinstance(value, torch.Tensor) and value.ndim]
        lists = [value for value in arguments if _is_ragged(value)]
        sample = next((value for value in arguments if _is_ragged(value) or isinstance(value, torch.Tensor)), None)
        self._batch = None if sample is None else len(sample)
        lists = [value for value in lists if len(value) == self._batch]
        self._lengths = [[len(part) for part in value] for value in lists]
        if self.only_conditional and self._batch is not None:
            self._roles = self._roles_of(inputs, lists, self._batch, context)

    def _roles_of(
        self, inputs: list[torch.Tensor], lists: list[Any], batch: int, context: str | None
    ) -> tuple[bool, ...]:
        rows = self.prompts * self.images
        blocks = max(batch // rows, 1)
        if blocks == 1 and context is not None:
            return (not context.startswith("uncond"),)
        roles = self._recognised(inputs, lists, rows, blocks)
        if roles is not None:
            return roles
        if blocks == 1:
            return (not self._has_the_form_of_the_prompts(inputs),)
        return (False, *(True,) * (blocks - 1))

    def _recognised(
        self, inputs: list[torch.Tensor], lists: list[Any], rows: int, blocks: int
    ) -> tuple[bool, ...] | None:
        """The roles by where the embeddings of the prompts are among the inputs; None if they are nowhere."""
        for encoding in self._encodings:
            for tensor in inputs:
                if tensor.shape[1:] == encoding.shape[1:] and len(tensor) == rows * blocks and len(encoding) == rows:
                    same = tuple(torch.equal(block.to(encoding), encoding) for block in tensor.split(rows))
                    if any(same):
                        return same
            for tensor in lists:  # one sequence for each picture
                firsts = tensor[::rows]
                same = tuple(one.shape == encoding.shape and torch.equal(one.to(encoding), encoding) for one in firsts)
                if any(same) and len(firsts) == blocks:
                    return same
        return None

    def _has_the_form_of_the_prompts(self, inputs: list[torch.Tensor]) -> bool:
        """Whether some input could be the prompts' embeddings by its shape: not they, it is the negative ones'."""
        return any(tensor.shape == encoding.shape for encoding in self._encodings for tensor in inputs)


def _is_ragged(value: Any) -> bool:
    """Whether an argument is a list with one tensor for each sample."""
    return (
        isinstance(value, list) and bool(value) and all(isinstance(part, torch.Tensor) and part.ndim for part in value)
    )


def _padded(lengths: list[int], total: int) -> list[int] | None:
    """Lengths of sequences that were padded to multiples of one number and laid one after the other, if they fit."""
    for multiple in (1, 2, 4, 8, 16, 32, 64, 128):
        sizes = [-(-length // multiple) * multiple for length in lengths]
        if sum(sizes) == total:
            return sizes
    return None


@contextmanager
def follow_rows(pipe: Any, rows: BatchRows, scope: Scope) -> Iterator[None]:
    """Within the context `rows` follows the pipeline's calls that are a scope's own."""
    guiders = [part for part in pipe.components.values() if hasattr(part, "prepare_models")]
    with ExitStack() as stack:
        if rows.only_conditional:
            owners = [one for one in (pipe, *vars(pipe).values()) if hasattr(one, "encode_prompt")]
            if not owners and not guiders and hasattr(pipe, "blocks"):  # made of blocks, which come in any order
                raise LineaError(
                    f"got steering_guidance='cond' and a {type(pipe).__name__}, which does not tell what runs with the "
                    "prompt: expected a pipeline with a guider or with encode_prompt, or steering_guidance='both'"
                )
            for owner in owners:
                stack.enter_context(listen(owner, "encode_prompt", rows.meet_encoded, scope=scope))
        for component, model in pipe.components.items():
            if isinstance(model, nn.Module) and is_text_encoder(component):
                hook = _text_hook(rows, component, scope)
                stack.enter_context(model.register_forward_pre_hook(hook, with_kwargs=True))
            elif isinstance(model, nn.Module) and component != LANGUAGE_MODEL:
                if rows.only_conditional and getattr(model, "_compiled_call_impl", None) is not None:
                    raise LineaError(
                        f"got steering_guidance='cond' and a {component!r} that was compiled in place, where its rows "
                        f"cannot be told apart: expected pipe.{component} = torch.compile(pipe.{component})"
                    )
                names: list[str | None] = [None]
                if rows.only_conditional and hasattr(model, "cache_context"):
                    stack.enter_context(listen(model, "cache_context", _named(names), scope=scope))
                hook = _model_hook(rows, names, guiders, scope)
                stack.enter_context(model.register_forward_pre_hook(hook, with_kwargs=True))
        yield


def _text_hook(rows: BatchRows, component: str, scope: Scope) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        tensors = [value for value in arguments_of(inputs, keywords) if isinstance(value, torch.Tensor)]
        if scope.acts() and tensors:
            rows.meet_text(component, len(tensors[0]))

    return hook


def _model_hook(rows: BatchRows, names: list[str | None], guiders: Sequence[Any], scope: Scope) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if scope.acts() and not torch.compiler.is_compiling():
            name = names[-1]
            for guider in guiders:  # of a modular pipeline; it runs the model once for each of its predictions
                is_first = guider._count_prepared == 1  # some have no answer of their own
                name = "cond" if getattr(guider, "is_conditional", is_first) else "uncond"
            rows.meet_model(arguments_of(inputs, keywords), name)

    return hook


def _named(names: list[str | None]) -> Listener:
    """A listener of a model's ``cache_context``: `names` ends with the name of the context that is open."""

    @contextmanager
    def entered(arguments: dict[str, Any], context: Any) -> Iterator[None]:
        names.append(arguments.get("name"))
        try:
            with context:
                yield
        finally:
            names.pop()

    return entered


_SAMPLES = ("hidden_states", "sample", "x")


def arguments_of(inputs: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
    """The arguments of a model, those within dictionaries included; the sample comes first."""
    named = sorted(keywords.items(), key=lambda item: item[0] not in _SAMPLES)
    flat: list[Any] = []
    for value in [*inputs, *(value for _, value in named)]:
        flat += value.values() if isinstance(value, dict) else [value]
    return flat
