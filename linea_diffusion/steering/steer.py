"""Maps at work: within a context, every call of a pipeline that is made in it is steered by one or several maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import LineaError
from .acted import Account, guard_hooks
from .activations import Edit, edit_activations
from .addresses import idle_projections, is_denoiser
from .rows import BatchRows, SteeringGuidance, follow_rows
from .schedule import Progress, follow_schedule
from .scopes import Scope, own_calls, resting_in_other_calls
from .sites import Composition, Part, Site, TrainedSite
from .weights.folded import folded, is_offloaded
from .weights.folded_outputs import folded_output

if TYPE_CHECKING:
    from ..maps.steering_maps import SteeringMaps

COMPOSITIONS = ("sum", "chain")
Adapter = tuple["SteeringMaps", torch.Tensor]
Window = tuple[float, float]
WHOLE: Window = (0.0, 1.0)


@contextmanager
def steer(
    pipe: Any,
    adapters: Sequence[Adapter],
    *,
    composition: Composition = "sum",
    num_images_per_prompt: int = 1,
    prompts: int | None = None,
    guidance: SteeringGuidance = "both",
    window: Window = WHOLE,
    progress: Progress | None = None,
    in_layers: bool = False,
    encoded: bool = False,
) -> Iterator[list[Site]]:
    """Within the context every call of `pipe` is steered; not what a callback of such a call calls, nor other threads.

    Args:
        pipe: a diffusers pipeline.
        adapters: maps with their strengths, () or (prompts,) each.
        composition: how several maps of one activation act together. ``"sum"``: each moves the unsteered activation
            and the moves add up, z + sum_i s_i*((w_i-1)*z + b_i), so that the order does not matter. ``"chain"``: one
            after the other in the order given; affine maps do not commute.
        num_images_per_prompt: what the pipeline is called with: a prompt's strength goes to all its images.
        prompts: how many there are; needed for ``guidance="cond"``.
        guidance: ``"both"`` steers what classifier-free guidance runs with and without the prompt, ``"cond"`` only what
            it runs with the prompt.
        window: the part [start, end) of the denoising schedule in which denoisers are steered. Text encoders run before
            the first step and are steered if start is 0.
        progress: where in the schedule the calls are, if somebody follows it already.
        in_layers: let plain norms and linear layers carry maps of their outputs in their own numbers where that is
            exact and costs nothing. It comes before all hooks, so that contexts within this one must not steer the same
            modules.
        encoded: the call is given embeddings that were steered like it.

    Yields:
        The sites that are steered.

    Raises:
        LineaError: maps of another model, (during the call) a batch that the strengths do not fit, or (when the
            context ends) activations that something ran past, see `Account.settle`.
    """
    guard_hooks()
    with ExitStack() as stack:
        scope = stack.enter_context(own_calls())
        if progress is None and (window != WHOLE or _binned(adapters)):
            progress = stack.enter_context(follow_schedule(pipe, scope))
        count = max([prompts or 1, *(len(strengths) for _, strengths in adapters if strengths.ndim)])
        rows = BatchRows(count, num_images_per_prompt, only_conditional=guidance == "cond")
        sites = make_sites(
            pipe, adapters,
            composition=composition, progress=progress, rows=rows, window=window,
        )  # fmt: skip
        edits: dict[str, Edit] = {site.name: site.edit for site in sites}
        trained = any(isinstance(site, TrainedSite) for site in sites)
        if sites and not trained:
            stack.enter_context(resting_in_other_calls(pipe.components.values(), scope))
            if progress is not None:
                stack.enter_context(progress.told(lambda: _prepare(sites)))
        account = Account(pipe, sites, resting(pipe, adapters), encoded=encoded)
        if not trained:
            hooked = set(sites) if not in_layers else account.compiled | _in_pieces(pipe, sites)
            edits = _of_own_calls(sites, hooked, stack, scope)
        if adapters and (count > 1 or rows.only_conditional):
            stack.enter_context(follow_rows(pipe, rows, scope))
        if not trained:
            stack.enter_context(account.kept(scope))
        stack.enter_context(edit_activations({site.name: site.module for site in sites}, edits))
        yield sites


def make_sites(
    pipe: Any,
    adapters: Sequence[Adapter],
    *,
    composition: Composition = "sum",
    progress: Progress | None = None,
    rows: BatchRows | None = None,
    window: Window = WHOLE,
) -> list[Site]:
    """The activations that maps steer, with what is done to them; the arguments are those of `steer`.

    Raises:
        LineaError: an unknown composition, or maps of another model.
    """
    if composition not in COMPOSITIONS:
        raise LineaError(f"got composition {composition!r}: expected one of {', '.join(COMPOSITIONS)}")
    modules, parts = _parts_of(pipe, adapters)
    trained = any(affine.is_trained for group in parts.values() for affine, _ in group)
    make = TrainedSite if trained else Site
    return [
        make(name, modules[name], group, composition, progress or Progress(), rows or BatchRows(), window)
        for name, group in parts.items()
    ]


def _binned(adapters: Sequence[Adapter]) -> bool:
    return any(affine.bins > 1 for maps, _ in adapters for _, affine in maps.acting())


def _parts_of(pipe: Any, adapters: Sequence[Adapter]) -> tuple[dict[str, nn.Module], dict[str, list[Part]]]:
    """Modules and (map, strengths) by activation name, of the maps that act."""
    modules: dict[str, nn.Module] = {}
    parts: dict[str, list[Part]] = {}
    for maps, strengths in adapters:
        present = maps.modules_in(pipe)
        if bool(torch.any(strengths != 0)):
            for name, affine in maps.acting():
                if name in present:
                    modules[name] = present[name]
                    parts.setdefault(name, []).append((affine, strengths))
    _refuse_idle(pipe, modules)
    return modules, parts


def _refuse_idle(pipe: Any, modules: dict[str, nn.Module]) -> None:
    """Raise if some of the modules are projections that never run.

    Raises:
        LineaError: they are.
    """
    components = dict.fromkeys(name.split(".", maxsplit=1)[0] for name in modules)
    idle = {module for component in components for module in idle_projections(pipe.components[component])}
    names = [name for name, module in modules.items() if module in idle]
    if names:
        raise LineaError(
            f"got maps of {len(names)} projections (such as {names[0]!r}) that never run while fuse_qkv_projections "
            "has one layer in their place: call unfuse_qkv_projections first, or load maps without them (maps.subset)"
        )


def resting(pipe: Any, adapters: Sequence[Adapter]) -> list[str]:
    """The activations with maps that act, but whose component the pipeline does without (it is None)."""
    absent = {component for component, model in pipe.components.items() if model is None}
    return list(
        dict.fromkeys(
            name
            for maps, strengths in adapters
            if bool(torch.any(strengths != 0))
            for name, _ in maps.acting()
            if name.split(".", maxsplit=1)[0] in absent
        )
    )


def _prepare(sites: Sequence[Site]) -> None:
    """The schedule has moved; text encoders do not depend on it."""
    for site in sites:
        if is_denoiser(site.component):
            site.prepare()


def _in_pieces(pipe: Any, sites: Sequence[Site]) -> set[Site]:
    """The sites in models whose weights are fetched in pieces: another weight would stay where those must leave."""
    components = dict.fromkeys(site.component for site in sites)
    offloaded = {component for component in components if is_offloaded(pipe.components[component])}
    return {site for site in sites if site.component in offloaded}


def _of_own_calls(sites: Sequence[Site], hooked: Set[Site], stack: ExitStack, scope: Scope) -> dict[str, Edit]:
    """The sites' edits for the calls that are made in the context; others see their activations unchanged.

    Training needs no such check, and could not have it: gradient checkpointing runs modules again in threads of
    autograd's own. What layers carry themselves needs no edit.

    Args:
        hooked: sites that need hooks.
    """

    def edit_of(site: Site) -> Edit:
        return lambda z: site.edit(z) if scope.acts() else z

    edits: dict[str, Edit] = {}
    for site in sites:
        carried = site not in hooked and any(
            stack.enter_context(way(site, scope.acts)) for way in (folded, folded_output)
        )
        if not carried:
            edits[site.name] = edit_of(site)
    return edits
