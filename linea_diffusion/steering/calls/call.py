"""What goes on in one call: where it is in the schedule, whose rows run, whose code it is, and what has acted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ...errors import LineaError
from ..addresses import is_denoiser
from ..dial import Dial
from .acted import Account, Presence
from .layout import Layout, no_places
from .layout_following import follow_layout
from .rows import BatchRows, arguments_of, follow_rows
from .schedule import Progress, follow_schedule
from .scopes import call_scope, resting_in_other_calls

Carry = Callable[[Any, Sequence[Any]], AbstractContextManager[Collection[Any]]]
"""Of a pipeline and `SteeredSite`s, those that need no hook, for as long as the context lasts."""


class RunningCall:
    """One call of a pipeline while it is steered.

    Args:
        prompts: how many there are; needed for ``guidance="cond"``.
        images: pictures of each prompt: a prompt's strength goes to all of them.
        progress: where in the schedule the call is, if somebody follows it already.
        carry: a context in which layers carry maps in their own numbers, such as `carried`; it yields the sites that
            need no hook. It comes before all hooks, so that contexts within must not steer the same modules.
        encoded: whether the call is given embeddings that were steered like it.
        size: height and width of its pictures in pixels, where it names them.
        inside: whether the pipeline has been called already, and what steers is a part of it.

    Attributes:
        progress: where in the schedule the call is.
        rows: which prompt each row belongs to.
        layout: where activations have the picture's places, where a mask is given.
        is_mine: whether the code that is running, within a model, is the call's; all is until it begins.
        account: what was to act, and what has acted.
        watch: looks for the first number that is not finite, in a call of which that is asked.
    """

    def __init__(
        self,
        *,
        prompts: int = 1,
        images: int = 1,
        progress: Progress | None = None,
        carry: Carry | None = None,
        encoded: bool = False,
        size: tuple[int, int] | None = None,
        inside: bool = False,
    ) -> None:
        self._inside = inside
        self.prompts, self.images, self.carry, self.encoded = prompts, images, carry, encoded
        self.layout, self._size, self._masked = Layout(size), size, False
        self.progress, self._is_followed = progress or Progress(), progress is not None
        self.rows = BatchRows(prompts, images)
        self.is_mine: Callable[[], bool] = lambda: True
        self.account: Account | None = None
        self.watch: FiniteWatch | None = None

    def watched(self) -> RunningCall:
        """A second call like this one, in which the first number that is not finite is looked for."""
        again = RunningCall(prompts=self.prompts, images=self.images, size=self._size)
        again.watch = FiniteWatch(again)
        return again

    def refuse_nothing(self) -> None:
        """Raise, or warn, if the call has ended and nothing was steered, see `Account.refuse_nothing`.

        Raises:
            LineaError: nothing that was to be steered ran, or nothing of that has the places which a mask names.
        """
        if self._masked and not self.layout.is_met:
            raise no_places()
        if self.account is not None:
            self.account.refuse_nothing()

    @contextmanager
    def followed(self, pipe: Any, dial: Dial, *, strengths: int, binned: bool) -> Iterator[None]:
        """Within the context the call knows its place in the schedule and its rows, as far as maps depend on them.

        Args:
            pipe: a diffusers pipeline.
            dial: how maps act.
            strengths: how many there are for the rows of a batch; 0 if no map acts.
            binned: whether some map is another in another part of the schedule.
        """
        with ExitStack() as stack:
            scope = self._scope = stack.enter_context(call_scope(inside=self._inside))
            self.is_mine = scope.acts
            depends = binned or not dial.is_always_on or self.watch is not None
            if strengths and depends and not self._is_followed:
                stack.enter_context(follow_schedule(pipe, scope, self.progress))
            self.rows = BatchRows(max(self.prompts, strengths), self.images, only_conditional=dial.guidance == "cond")
            if strengths and (self.rows.prompts > 1 or self.rows.only_conditional):
                stack.enter_context(follow_rows(pipe, self.rows, scope))
            if strengths and dial.region is not None:
                self._masked = True
                self._check_masks(len(dial.region))
                models = [(name, one) for name, one in pipe.components.items() if isinstance(one, nn.Module)]
                models = [(name, one) for name, one in models if is_denoiser(name)]
                stack.enter_context(follow_layout(models, self.layout, arguments_of, scope))
            yield

    def _check_masks(self, masks: int) -> None:
        """Raise unless there is one mask, or one for each prompt or picture."""
        prompts, images = self.rows.prompts, self.images
        if masks not in (1, prompts, prompts * images):
            raise LineaError(
                f"got {masks} masks and {prompts} prompts{f' of {images} pictures each' if images > 1 else ''}: "
                "expected one mask, or one for each"
            )

    @contextmanager
    def accounted(self, pipe: Any, sites: Sequence[Presence], resting: Sequence[str]) -> Iterator[Account]:
        """Within the context sites rest in other calls, and it is kept which of them should act, and do.

        Args:
            pipe: a diffusers pipeline.
            sites: its steered activations.
            resting: activations with maps whose component the pipeline does without.

        Raises:
            LineaError: when the context ends, see `Account.settle`.
        """
        scope = self._scope
        account = self.account = Account(pipe, sites, resting, encoded=self.encoded)
        with ExitStack() as stack:
            if sites:
                stack.enter_context(resting_in_other_calls(pipe.components.values(), scope))
            stack.enter_context(account.kept(scope))
            yield account


class FiniteWatch:
    """Looks for the first number that is not finite.

    Args:
        call: which is looked at.
    """

    def __init__(self, call: RunningCall) -> None:
        self._call, self._last = call, "the start"

    def see(self, name: str, z: torch.Tensor, moved: torch.Tensor) -> None:
        """An activation comes by, before and after its map.

        Raises:
            LineaError: a number that is not finite.
        """
        self._refuse(z, f"between {self._last} and {name!r}")
        self._refuse(moved, f"at {name!r}")
        self._last = repr(name)

    def _refuse(self, z: torch.Tensor, where: str) -> None:
        if not bool(z.isfinite().all()):
            raise LineaError(
                f"got numbers that are not finite {where}, in denoising step {self._call.progress.index + 1} "
                f"({z.dtype} holds up to {torch.finfo(z.dtype).max:.3g}): expected finite ones; lower the strength, or "
                "run the model in bfloat16 or float32"
            )
