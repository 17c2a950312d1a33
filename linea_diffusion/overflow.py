"""Numbers that are not finite: noticed when a call ends, and traced to the activation where they began."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from .errors import LineaError
from .hooks import listen
from .schedule import follow_schedule, stepping_schedulers
from .scopes import own_calls
from .sites import Site, Trail


class Outlook:
    """Whether every prediction of the denoisers was finite so far; read once, so that nothing waits for it before."""

    def __init__(self) -> None:
        self._bad: torch.Tensor | None = None

    def look(self, given: Mapping[str, Any], _: Any = None) -> None:
        """Take the prediction into account that a scheduler was given."""
        prediction = given.get("model_output")
        if isinstance(prediction, torch.Tensor) and prediction.is_floating_point():
            bad = ~prediction.isfinite().all()
            self._bad = bad if self._bad is None else self._bad | bad

    @property
    def broken(self) -> bool:
        """Whether some number was not finite."""
        return self._bad is not None and bool(self._bad)


@contextmanager
def look_out(pipe: Any) -> Iterator[Outlook]:
    """Within the context the predictions that a pipeline gives its schedulers are looked at."""
    outlook = Outlook()
    with ExitStack() as stack:
        scope = stack.enter_context(own_calls())
        for scheduler in stepping_schedulers(pipe):
            stack.enter_context(listen(scheduler, "step", outlook.look, scope=scope))
        yield outlook


def refuse_overflow(pipe: Any, sites: Sequence[Site], run: Callable[[], Any], generators: Callable[[], None]) -> None:
    """Run a call whose picture broke once more, and name the activation where it broke.

    Args:
        pipe: a diffusers pipeline.
        sites: what was steered in it, still in place.
        run: the call.
        generators: sets the generators back to where they were before the call.

    Raises:
        LineaError: always.
    """
    generators()
    with follow_schedule(pipe) as progress:
        trail = Trail(progress)
        for site in sites:
            site.trail = trail
        run()
    raise LineaError(
        "got a picture with numbers that are not finite, and none at a steered activation: expected a base model that "
        "runs in this dtype; try bfloat16 or float32"
    )


def generator_states(given: Any) -> Callable[[], None]:
    """A function that sets the given generators, or torch's own if there are none, back to where they are now."""
    kept = [one for one in (given if isinstance(given, list | tuple) else [given]) if one is not None]
    states = [one.get_state() for one in kept]
    own = None if kept else torch.get_rng_state()

    def restore() -> None:
        for one, state in zip(kept, states, strict=True):
            one.set_state(state)
        if own is not None:
            torch.set_rng_state(own)

    return restore
