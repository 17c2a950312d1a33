"""How a pipeline is called: those of one class by its parameters, modular ones by the inputs of their blocks.

A modular pipeline of diffusers is made of blocks. It takes what they ask for, by name, gives back the state that they
leave, or of it what ``output=`` names, and is guided by a component of its own, the guider.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import Any

import torch
from diffusers import DiffusionPipeline, ModularPipeline
from diffusers.modular_pipelines.modular_pipeline import LoopSequentialPipelineBlocks, PipelineState

from ..errors import LineaError, short
from ..steering.hooks import replaced

_SCALE = "guidance_scale"
_OWN = {"state": None, "output": None}


def is_pipeline(base: Any) -> bool:
    """Whether something is a pipeline of diffusers, made of blocks or not."""
    return isinstance(base, DiffusionPipeline | ModularPipeline)


def is_modular(pipe: Any) -> bool:
    """Whether a pipeline, or the one that it wraps, is made of blocks."""
    return isinstance(pipe, ModularPipeline)


def parameters(pipe: Any) -> dict[str, Any]:
    """What a call of a pipeline, or of the one that it wraps, takes by name -> what it is when it is left out.

    A modular pipeline takes the inputs of its blocks, and the ``guidance_scale`` of its guider if that has one.
    """
    base = getattr(pipe, "base", pipe)
    if not is_modular(base):
        theirs = inspect.signature(type(base).__call__).parameters
        return {name: one.default for name, one in theirs.items() if name not in ("self", "args", "kwargs")}
    named = {one.name: one.default for one in base._blocks.inputs if one.name is not None}
    if _has_scale(base):
        named[_SCALE] = base.guider.guidance_scale if base.guider._enabled else 1.0
    return {**named, **_OWN}


def accepts(pipe: Any, argument: str) -> bool:
    """Whether calls of a pipeline, or of the one that it wraps, take an argument of this name."""
    return argument in parameters(pipe)


def called(pipe: Any, prompt: Any = None, *args: Any, **arguments: Any) -> Any:
    """What a pipeline makes of a prompt, which goes by its name: some classes take another thing first.

    Args:
        pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
        prompt: as for the pipeline; None if the arguments hold what stands for it.
        *args: what some classes take behind it, by place.
        **arguments: by name. The ``guidance_scale`` of a modular pipeline is its guider's, for this call.

    Raises:
        LineaError: arguments by place for a modular pipeline.
    """
    if args and not is_modular(pipe):
        return pipe(prompt, *args, **arguments)
    if prompt is not None or accepts(pipe, "prompt"):
        arguments["prompt"] = prompt
    if getattr(pipe, "base", pipe) is not pipe or not is_modular(pipe):
        return pipe(**arguments)
    if args:
        raise LineaError(
            f"got {len(args)} arguments behind the prompt by place: expected them by name, as the blocks of a "
            f"{type(pipe).__name__} call them"
        )
    if arguments.get("prompt") is None:
        arguments.pop("prompt", None)  # what a state holds is not written over
    with _guided(pipe, arguments):
        return pipe(**arguments)


@contextmanager
def _guided(pipe: Any, arguments: dict[str, Any]) -> Iterator[None]:
    """Within the context a modular pipeline's guider has the scale that is taken out of a call's arguments."""
    if not _has_scale(pipe):
        yield
        return
    scale = arguments.pop(_SCALE, None)
    with ExitStack() as stack:
        for name, value in {_SCALE: scale, "_enabled": True}.items() if scale is not None else ():
            stack.enter_context(replaced(pipe.guider, name, value))
        yield


def _has_scale(pipe: Any) -> bool:
    """Whether guidance is a guider's, and no input of some block."""
    own = any(one.name == _SCALE for one in pipe._blocks.inputs)
    return not own and hasattr(getattr(pipe, "guider", None), _SCALE)


def made_of(result: Any) -> Any:
    """The pictures, or whatever a call made: the first thing that a pipeline's output holds, or the state of blocks.

    Args:
        result: of a call.

    Raises:
        LineaError: the state of blocks that make none.
    """
    if not isinstance(result, PipelineState):
        return result[0]
    for name in ("images", "videos", "frames", "latents"):
        if (made := result.get(name)) is not None:
            return made
    raise LineaError(
        f"got a call that made no pictures ({', '.join(result.values)}): expected a modular pipeline with blocks that "
        "denoise and decode"
    )


def with_state(base: Any, prompt: Any, arguments: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A call's prompt and arguments, with what a state that other blocks left holds for the inputs of these.

    Args:
        base: a diffusers pipeline.
        prompt: of the call, or the state itself, which a modular pipeline takes first.
        arguments: of the call; they count before the state.
    """
    rest = dict(arguments)
    if isinstance(prompt, PipelineState):
        prompt, rest["state"] = rest.pop("prompt", None), prompt
    state = rest.get("state")
    if not is_modular(base) or state is None:
        return prompt, rest
    if not isinstance(state, PipelineState):
        raise LineaError(f"got state {short(state)}: expected the state that a modular pipeline gave back")
    known = {name: value for name in parameters(base) if (value := state.get(name)) is not None}
    prompt = known.pop("prompt", None) if prompt is None else prompt
    return prompt, {**known, **rest}


@contextmanager
def blocks_with_gradients(pipe: Any, undecorated: Callable[[type], Any]) -> Iterator[None]:
    """Within the context the blocks of a pipeline leave gradients on, which their calls turn off, and end with the
    schedule: nothing is decoded.

    Args:
        pipe: a modular pipeline.
        undecorated: makes of a class the one whose methods leave gradients as they are.
    """
    with ExitStack() as stack:
        blocks = copy(pipe._blocks)
        steps = [name for name, block in blocks.sub_blocks.items() if _has_loop(block)]
        names = list(blocks.sub_blocks)
        kept = names[: names.index(steps[-1]) + 1] if steps else names
        blocks.sub_blocks = type(blocks.sub_blocks)((name, blocks.sub_blocks[name]) for name in kept)
        stack.enter_context(replaced(pipe, "_blocks", blocks))
        for block in _blocks(blocks):
            kind = undecorated(type(block))
            if block is blocks:  # the pipeline's own call turns them off around it
                kind.__call__ = torch.enable_grad()(kind.__call__)
            stack.enter_context(replaced(block, "__class__", kind))
        yield


def _has_loop(block: Any) -> bool:
    return any(isinstance(one, LoopSequentialPipelineBlocks) for one in _blocks(block))


def bars_of(pipe: Any) -> list[Any]:
    """What shows the progress of a pipeline's calls: itself, or its blocks that go through a schedule."""
    if not is_modular(pipe):
        return [pipe] if hasattr(pipe, "set_progress_bar_config") else []
    return [block for block in _blocks(pipe._blocks) if hasattr(block, "set_progress_bar_config")]


def _blocks(block: Any) -> Iterator[Any]:
    """A block and all within it."""
    yield block
    within = getattr(block, "blocks", None)
    for part in (*block.sub_blocks.values(), *([] if within is None else [within])):
        yield from _blocks(part)


def modular_like(kind: Any, base: Any, components: Mapping[str, Any]) -> Any:
    """A modular pipeline over the components of another pipeline.

    Args:
        kind: its class; that of `base` itself keeps its blocks.
        base: whose components it has.
        components: others, in their place.
    """
    made = kind(blocks=base.blocks) if is_modular(base) and kind is type(base) else kind()
    known = {**base.components, **components}
    made.update_components(**{name: part for name, part in known.items() if name in made._component_specs})
    return made
