"""Calling any diffusers pipeline as its user does, with or without gradients."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from ..errors import LineaError, short
from ..steering.activations import feature_axis, record_activations
from ..steering.addresses import is_denoiser, is_text_encoder
from ..steering.calls.schedule import stepping_schedulers
from ..steering.calls.scopes import calls_open
from ..steering.hooks import replaced
from ..steering.language import LanguageModel, steerable
from .modular import accepts, bars_of, blocks_with_gradients, called, is_modular

_CONTEXTS = inspect.getfile(torch.utils._contextlib)
"""Where ``torch.no_grad()`` makes the functions that it puts around others."""


def call_with_gradients(pipe: Any, **arguments: Any) -> Any:
    """What ``pipe(**arguments)`` computes, outside the no_grad that diffusers puts around ``__call__``.

    The same goes for the stages of a pipeline of pipelines, for other methods that are decorated so, and for text
    encoders that are run under no_grad.

    Raises:
        LineaError: a pipeline class whose ``__call__`` is not decorated that way.
    """
    if not is_modular(pipe) and not hasattr(type(pipe).__call__, "__wrapped__"):
        raise LineaError(
            f"got a {type(pipe).__name__}, whose __call__ cannot run with gradients (it is not under torch.no_grad as "
            "a decorator): expected a pipeline of diffusers"
        )
    with ExitStack() as stack:
        if is_modular(pipe):
            stack.enter_context(blocks_with_gradients(pipe, _undecorated))
        for part in _with_stages(pipe):
            stack.enter_context(replaced(part, "__class__", _undecorated(type(part))))
        for name, model in pipe.components.items():
            if isinstance(model, nn.Module) and is_text_encoder(name) and torch.is_grad_enabled():
                stack.enter_context(replaced(model, "forward", torch.enable_grad()(model.forward)))
            elif isinstance(model, nn.Module) and not hasattr(model, "gradient_checkpointing"):
                # some forwards read it all the same
                stack.enter_context(replaced(model, "gradient_checkpointing", False))
        return called(pipe, **arguments)


def _with_stages(pipe: Any) -> list[Any]:
    """A pipeline, and those that it is made of."""
    return [pipe, *(value for value in vars(pipe).values() if isinstance(value, DiffusionPipeline))]


def _undecorated(kind: type) -> type:
    """A pipeline's class whose methods leave gradients on."""
    attributes = {name: inspect.getattr_static(kind, name) for name in dir(kind)}
    methods = {
        name: inspect.unwrap(method)
        for name, method in attributes.items()
        if inspect.isfunction(method) and method.__code__.co_filename == _CONTEXTS
    }
    return type(kind.__name__, (kind,), {**methods, "__module__": kind.__module__})


_LOCK = threading.Lock()
_CALLING: dict[int, list[int]] = {}
"""Pipelines that are called, by id -> the thread that calls them, once for each call within the other."""


@contextmanager
def one_thread(pipe: Any) -> Iterator[None]:
    """Within the context no other thread may call a pipeline; its callbacks may.

    Raises:
        LineaError: another thread is calling it.
    """
    me = threading.get_ident()
    with _LOCK:
        if _CALLING.get(id(pipe), [me])[0] != me:
            raise LineaError(
                f"got a call of a {type(pipe).__name__} that another thread is calling: expected one call at a time, "
                "because it and its scheduler remember the present one; give each thread a wrapper of its own over the "
                "same models, by LinEASDiffusionPipeline.from_pipe with copies of scheduler and tokenizer "
                "(docs/service.md), or call one after the other"
            )
        _CALLING.setdefault(id(pipe), []).append(me)
    try:
        yield
    finally:
        with _LOCK:
            _CALLING[id(pipe)].pop()
            if not _CALLING[id(pipe)]:
                del _CALLING[id(pipe)]


@contextmanager
def state_kept(pipe: Any) -> Iterator[None]:
    """Within the context a pipeline may be called, also from a callback of its own: the call that goes on finds the
    pipeline and its schedulers as they were.

    Both remember the present call (guidance, step, last predictions). Methods are left alone: what others put there
    comes and goes on its own.
    """
    if not calls_open():
        yield
        return
    before = [(part, _state(part)) for part in (*_with_stages(pipe), *stepping_schedulers(pipe))]
    try:
        yield
    finally:
        for part, state in before:
            for name, value in state.items():
                object.__setattr__(part, name, value)


def _state(part: Any) -> dict[str, Any]:
    numbers = {name: value for name, value in vars(part).items() if not callable(value)}
    return {name: list(value) if isinstance(value, list) else value for name, value in numbers.items()}


def for_base(base: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a wrapper's call as its base pipeline takes them: ``denoising_strength`` is its ``value``.

    Raises:
        LineaError: a base pipeline that starts from noise alone and has none.
    """
    rest = dict(arguments)
    value = rest.pop("denoising_strength", None)
    if value is None:
        return rest
    if not accepts(base, "strength"):
        raise LineaError(
            f"got denoising_strength={short(value)}, and {type(base).__name__} has no strength of its own, because it "
            "starts from noise alone: expected an image-to-image or inpainting pipeline, or denoising_strength left out"
        )
    return {"strength": value, **rest}


def generators(seeds: Sequence[int], device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One generator per picture, so that a picture's noise depends on its own seed alone."""
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]


def measure_activations(pipe: Any, modules: Mapping[str, nn.Module]) -> dict[str, tuple[tuple[int, ...], int]]:
    """Shape and number of features of activations, seen in one step of one call; what does not run is left out.

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        modules: activation name -> module, as from `find_modules`.
    """
    base, wanted = steerable(pipe), {"num_inference_steps": 1, "output_type": "latent"}
    with record_activations(modules) as recorded:
        if isinstance(base, LanguageModel):
            base.model(input_ids=torch.zeros(1, 8, dtype=torch.long, device=base.device), use_cache=False)
        else:
            called(pipe, "a picture", **{name: value for name, value in wanted.items() if accepts(pipe, name)})
    seen = {name: calls[0] for name, calls in recorded.items() if calls}
    return {name: (tuple(z.shape), z.shape[feature_axis(modules[name], z)]) for name, z in seen.items()}


def denoisers_of(pipe: Any) -> list[nn.Module]:
    """The models of a pipeline that predict noise or velocity."""
    return [model for name, model in pipe.components.items() if isinstance(model, nn.Module) and is_denoiser(name)]


@contextmanager
def frozen(pipe: Any) -> Iterator[None]:
    """Within the context no weight of the pipeline wants a gradient, its models are in evaluation mode and its
    progress bar is off; afterwards all is as before."""
    modules = [
        module
        for component in pipe.components.values()
        if isinstance(component, nn.Module)
        for module in component.modules()
    ]
    parameters = [parameter for module in modules for parameter in module.parameters(recurse=False)]
    wanted = [parameter.requires_grad for parameter in parameters]
    modes = [module.training for module in modules]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        for module in modules:
            module.training = False
        with without_bar(pipe):
            yield
    finally:
        for parameter, flag in zip(parameters, wanted, strict=True):
            parameter.requires_grad_(flag)
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


@contextmanager
def without_bar(pipe: Any) -> Iterator[None]:
    """Within the context a pipeline shows no progress of its own; a language model has none."""
    before = [(one, dict(getattr(one, "_progress_bar_config", {}))) for one in bars_of(pipe)]
    for one, bar in before:
        one.set_progress_bar_config(**bar | {"disable": True})
    try:
        yield
    finally:
        for one, bar in before:
            one.set_progress_bar_config(**bar)
