"""Pictures of numbers that are not finite, noticed when a call ends and traced to the activation where they began."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ..errors import LineaError
from ..steering.calls.schedule import stepping_schedulers
from ..steering.calls.scopes import call_scope
from ..steering.hooks import listen

_REFUSED: ContextVar[bool] = ContextVar("linea_diffusion_unusable_is_refused", default=False)


class Outlook:
    """Whether all numbers were finite so far: the denoisers' predictions, and what autoencoders decoded.

    They are read once, so that nothing waits for them before.
    """

    def __init__(self) -> None:
        self._bad: dict[str, torch.Tensor] = {}

    def look(self, arguments: Mapping[str, Any], _: Any = None) -> None:
        """Take the prediction into account that a scheduler was given."""
        self._note("", arguments.get("model_output"))

    def decoded(self, name: str, _: Mapping[str, Any], result: Any) -> None:
        """Take into account what the autoencoder of this name made."""
        for pixels in tree_leaves(result):
            self._note(name, pixels)

    def _note(self, whose: str, numbers: Any) -> None:
        if isinstance(numbers, torch.Tensor) and numbers.is_floating_point():
            bad = ~numbers.isfinite().all()
            self._bad[whose] = self._bad[whose] | bad if whose in self._bad else bad

    @property
    def lost(self) -> bool:
        """Whether some prediction was not finite."""
        return "" in self._bad and bool(self._bad[""])

    @property
    def why(self) -> str:
        """What was not finite, for an error; empty if all was."""
        whose = next((name for name, bad in self._bad.items() if bad), None)
        if whose is None:
            return ""
        made = f"which {whose} made of finite ones" if whose else "already in the denoiser's predictions"
        return (
            f"got a picture with numbers that are not finite, {made}; it would be black: expected a model that runs "
            "in this dtype; try bfloat16 or float32, or less strength"
        )


@contextmanager
def look_out(pipe: Any) -> Iterator[Outlook]:
    """Within the context the predictions that a pipeline gives its schedulers, and what it decodes, are looked at."""
    outlook = Outlook()
    with ExitStack() as stack:
        scope = stack.enter_context(call_scope())
        for scheduler in stepping_schedulers(pipe):
            stack.enter_context(listen(scheduler, "step", outlook.look, scope=scope))
        for name, part in pipe.components.items():
            if isinstance(part, nn.Module) and callable(getattr(part, "decode", None)):
                stack.enter_context(listen(part, "decode", partial(outlook.decoded, name), scope=scope))
        yield outlook


@contextmanager
def refusing() -> Iterator[None]:
    """Within the context nobody is warned of pictures that show nothing, because whoever opened it refuses them."""
    token = _REFUSED.set(True)
    try:
        yield
    finally:
        _REFUSED.reset(token)


def tell_unusable(outlook: Outlook) -> None:
    """Warn of a picture that broke without steering, which is the base model's own, unless it is refused anyway."""
    if outlook.why and not _REFUSED.get():
        warnings.warn(f"{outlook.why} (the base model's own: nothing was steered)", stacklevel=3)


def refuse_overflow(watched: AbstractContextManager[Any], run: Callable[[], Any], restore: Callable[[], None]) -> None:
    """Run a call whose picture broke once more, and name the activation where it broke.

    Args:
        watched: steers as the call was steered, and looks for the first number that is not finite.
        run: the call.
        restore: sets its generators back to where they were.

    Raises:
        LineaError: always.
    """
    restore()
    with watched:
        run()
    raise LineaError(
        "got a picture with numbers that are not finite, and none at a steered activation: expected a base model that "
        "runs in this dtype; try bfloat16 or float32"
    )


def generator_states(generators: Any) -> Callable[[], None]:
    """A function that sets generators, and torch's own, which some classes draw from too, back to where they are."""
    kept = [one for one in (generators if isinstance(generators, list | tuple) else [generators]) if one is not None]
    states = [one.get_state() for one in kept]
    default = torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def restore() -> None:
        for one, state in zip(kept, states, strict=True):
            one.set_state(state)
        torch.set_rng_state(default)
        if on_gpu:
            torch.cuda.set_rng_state_all(on_gpu)

    return restore
