"""Whether the steering that was asked for has happened: no picture is handed out on which maps were lost in silence.

What runs is noticed where it begins, at a model and the blocks near its root, and at each module that torch.compile
made faster, from outside of its code. All steered activations within are then due. Those that were not seen when the
call ends are named: in an error where some code passes hooks by, in a warning where the rest acts.

Compiled code holds the hooks that were there when it was made, and by default nothing checks whether they still are.
With that check on, code is made once with steering and once without, and chosen by itself; what a strength changes are
tensors, so no other strength needs code of its own.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ...errors import LineaError
from ..activations import Site
from ..addresses import Address
from ..hooks import listen
from .scopes import Scope


def guard_hooks() -> None:
    """Let code that torch.compile makes from now on check the hooks of its modules."""
    from torch._dynamo import config

    config.skip_nnmodule_hook_guards = False


def runs_compiled(module: nn.Module) -> bool:
    """Whether torch.compile made this very module faster, as a module around it or in place."""
    return vars(module).get("_compiled_call_impl") is not None or type(module).__name__ == "OptimizedModule"


def stale_code(component: str, passed: str) -> LineaError:
    """The error for compiled code that calls no hooks, with what it passed by."""
    return LineaError(
        f"got a compiled {component!r} whose code was made before steering was there, so that {passed}: expected the "
        "pipeline to be wrapped in LinEASDiffusionPipeline before its first compiled call; call torch.compiler.reset() "
        "now and render again; what never runs in this model anyway is left out by maps.subset"
    )


_ADVICE = (
    "; in place of prompt embeddings give the prompt, or what encode_prompt(prompt, strength=...) of the steered "
    "pipeline makes at the strength of the call"
)
_INSIDE = ("linea_diffusion.", "contextlib")
_LEVELS = 3
"""A model, its children and theirs: pipelines also enter models by parts, such as ``text_encoder.model``."""


class Presence:
    """Whether an activation was to be steered in a call, and whether it came by.

    Attributes:
        site: the activation.
        on: whether its part of the schedule is running.
        due: whether something that contains the module ran meanwhile.
        acted: whether the activation came by since its part of the schedule began or ended.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.on = self.due = self.acted = self._has_worked = False

    def turn(self, on: bool) -> None:
        """The site's part of the schedule runs, or does not."""
        if on != self.on:
            self._has_worked, self.acted, self.on = self.has_worked, False, on

    @property
    def has_worked(self) -> bool:
        """Whether the activation came by while the site was on: it was steered."""
        return self._has_worked or (self.on and self.acted)


class Account:
    """What is due in a call, and what became of it.

    Args:
        pipe: a diffusers pipeline.
        sites: its steered activations.
        resting: activations with maps whose component the pipeline does without.
        encoded: whether the call is given embeddings that were steered like it: text encoders have no more to do.
    """

    def __init__(
        self, pipe: Any, sites: Sequence[Presence], resting: Sequence[str] = (), *, encoded: bool = False
    ) -> None:
        self.sites, self.resting, self.encoded = sites, resting, encoded
        self._entries: list[tuple[nn.Module, list[Presence]]] = []
        self._compiled: list[tuple[nn.Module, list[Presence]]] = []
        at: dict[nn.Module, list[Presence]] = {}
        for one in sites:
            at.setdefault(one.site.module, []).append(one)
        for component in dict.fromkeys(one.site.component for one in sites):
            self._enter(pipe.components[component], at, 0)

    def _enter(self, module: nn.Module, at: Mapping[nn.Module, list[Presence]], level: int | None) -> list[Presence]:
        """The sites that are due when a module runs, which are kept where they tell it. No level: in compiled code."""
        compiled = level is not None and runs_compiled(module)
        below = None if compiled or level is None else level + 1
        presences = list(at.get(module, ()))
        for child in module.children():
            presences += self._enter(child, at, below)
        if presences and compiled:
            self._compiled.append((module, presences))
            return []  # by itself alone: a cache may skip it
        if presences and level is not None and level < _LEVELS:
            self._entries.append((module, presences))
        return presences

    @property
    def compiled(self) -> set[Presence]:
        """The sites within code that torch.compile made."""
        return {one for _, sites in self._compiled for one in sites}

    @contextmanager
    def kept(self, scope: Scope) -> Iterator[None]:
        """Within the context sites are due as soon as something with them runs; when it ends well, all is settled.

        Args:
            scope: whose calls are steered.

        Raises:
            LineaError: see `settle`.
        """
        with ExitStack() as stack:
            for module, sites in self._entries + self._compiled:
                stack.enter_context(_entry_hook(module, sites, scope))
            yield
        self.settle()

    def settle(self) -> None:
        """Raise or warn if a site is due that was not seen.

        Raises:
            LineaError: code that torch.compile made earlier, or something else that calls no hooks, passed sites by.
        """
        for _, sites in self._compiled:
            if silent := _silent(sites):
                raise stale_code(silent[0].site.component, f"{_some(silent, of=sites)} were not steered")
        for component in dict.fromkeys(one.site.component for one in self.sites):
            sites = [one for one in self.sites if one.site.component == component]
            if any(one.has_worked for one in sites) and not any(one.due for one in sites):
                for one in sites:  # entered deeper than we watch, such as layer by layer
                    one.due = one.on
            silent = _silent(sites)
            if silent and not any(one.has_worked for one in sites):
                raise LineaError(
                    f"got a {component!r} that ran past {_some(silent, of=sites)}: expected a model whose modules are "
                    "called; if something replaced its forward (an export, a trace, code compiled by hand), do that "
                    "after wrapping the pipeline, or leave it out"
                )
            if silent:
                _warn(
                    f"{_some(silent, of=sites)} in {component!r} did not run in this call and were not "
                    "steered; if that is meant, load maps without them (maps.subset)"
                )
        self._tell_texts()

    def refuse_nothing(self) -> None:
        """Raise, or warn, if the call has ended and no site was seen.

        Raises:
            LineaError: nothing that was to be steered ran.
        """
        sites = self.sites
        if self.encoded or not sites or any(one.has_worked for one in sites):
            return
        components = _components(one.site.address for one in sites)
        if any(one.on and not one.due for one in sites):
            raise LineaError(
                f"got maps of {components}, and a call in which it did not run, so that nothing was steered: expected "
                f"a call that runs it{_ADVICE}"
            )
        if not any(one.due for one in sites):
            models = _components(one.site.address for one in sites if not one.site.address.in_text_encoder)
            _warn(
                f"nothing was steered: no denoising step of {models} fell between steering_start and steering_end; "
                "choose a wider part of the schedule, or take more steps"
                if models
                else f"nothing was steered: maps of {components} act before the first step, and steering_start is "
                "above 0; let it be 0"
            )

    def _tell_texts(self) -> None:
        """Warn if maps of text encoders did nothing in a call in which others acted."""
        worked = any(one.has_worked for one in self.sites)
        if self.encoded or not (worked or self.resting):
            return
        waiting = [one.site.name for one in _waiting(self.sites)] if worked else []
        tell_resting([*self.resting, *waiting], active=worked)


def tell_resting(names: Sequence[str], *, active: bool = True) -> None:
    """Warn that maps of components that do not run rest, if there are any."""
    if names:
        addresses = list(map(Address.of, names))
        components, texts = _components(addresses), any(one.in_text_encoder for one in addresses)
        _warn(
            f"maps of {components} ({len(names)} activations) rest, because it does not run"
            f"{'; the other maps act' if active else ''}{_ADVICE if texts else ''}; or load maps without it "
            "(maps.subset)"
        )


def _components(addresses: Iterable[Address]) -> str:
    return ", ".join(dict.fromkeys(repr(one.component) for one in addresses))


def _waiting(sites: Sequence[Presence]) -> list[Presence]:
    """Sites of text encoders that did not run although they should have acted."""
    return [one for one in sites if one.site.address.in_text_encoder and one.on and not one.due]


def _silent(sites: Sequence[Presence]) -> list[Presence]:
    return [one for one in sites if one.due and not one.has_worked]


def _some(silent: Sequence[Presence], *, of: Sequence[Presence]) -> str:
    names = ", ".join(repr(one.site.name) for one in silent[:3])
    more = ", ..." if len(silent) > 3 else ""
    return f"{len(silent)} of {len(of)} steered activations ({names}{more})"


def _warn(message: str) -> None:
    """A warning at the user's own line, so that another call shows it again and a loop does not."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


@contextmanager
def _entry_hook(module: nn.Module, sites: Sequence[Presence], scope: Scope) -> Iterator[None]:
    """Within the context sites are due as soon as a module runs."""

    def due() -> None:
        for one in sites:
            one.due = one.due or one.on

    def hook(module: nn.Module, inputs: Any) -> None:
        if not torch.compiler.is_compiling() and scope.acts():
            due()

    if vars(module).get("_compiled_call_impl") is None:
        with module.register_forward_pre_hook(hook):
            yield
    else:  # a hook would become part of the code
        with listen(module, "_compiled_call_impl", lambda arguments, result: due(), scope=scope):
            yield
