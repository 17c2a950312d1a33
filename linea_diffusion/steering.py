"""Maps at work: within a context, every call of a pipeline is steered by one or several sets of maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from .activations import Edit, edit_activations, feature_axis
from .affine import AffineMap, move
from .errors import LineaError
from .schedule import Progress, follow_schedule
from .strengths import strengths_of_rows

if TYPE_CHECKING:
    from .maps import SteeringMaps

Composition = Literal["sum", "chain"]
COMPOSITIONS = ("sum", "chain")
Part = tuple[AffineMap, torch.Tensor]
Move = tuple[torch.Tensor, torch.Tensor]


@contextmanager
def steer(
    pipe: Any,
    adapters: Sequence[tuple[SteeringMaps, torch.Tensor]],
    *,
    composition: Composition = "sum",
    num_images_per_prompt: int = 1,
    progress: Progress | None = None,
) -> Iterator[None]:
    """Within the context every call of `pipe` is steered.

    Args:
        pipe: a diffusers pipeline.
        adapters: maps with their strengths, () or (prompts,) each.
        composition: how several maps of one activation act together. ``"sum"``: each moves the unsteered activation
            and the moves add up, z + sum_i s_i*((w_i-1)*z + b_i), so that the order does not matter. ``"chain"``: one
            after the other in the order given; affine maps do not commute.
        num_images_per_prompt: what the pipeline is called with: a prompt's strength goes to all its images.
        progress: where in the schedule the calls are, if somebody follows it already.

    Raises:
        LineaError: maps of another model, or (during the call) a batch that the strengths do not fit.
    """
    if composition not in COMPOSITIONS:
        raise LineaError(f"got composition {composition!r}: expected one of {', '.join(COMPOSITIONS)}")
    modules: dict[str, nn.Module] = {}
    parts: dict[str, list[Part]] = {}
    for maps, strengths in adapters:
        present = maps.modules_in(pipe)
        if bool(torch.any(strengths != 0)):
            for name, affine in maps.acting():
                modules[name] = present[name]
                parts.setdefault(name, []).append((affine, strengths))
    with ExitStack() as stack:
        binned = any(affine.bins > 1 for group in parts.values() for affine, _ in group)
        if binned and progress is None:
            progress = stack.enter_context(follow_schedule(pipe))
        edits = {
            name: _edit(name, group, modules[name], num_images_per_prompt, progress or Progress(), composition)
            for name, group in parts.items()
        }
        stack.enter_context(edit_activations(modules, edits))
        yield


def _edit(
    name: str, parts: list[Part], module: nn.Module, images: int, progress: Progress, composition: Composition
) -> Edit:
    features = parts[0][0].features

    def edit(z: torch.Tensor) -> torch.Tensor:
        axis = feature_axis(module, z)
        if z.shape[axis] != features:
            raise LineaError(
                f"got maps with {features} features for {name!r} whose activation has {z.shape[axis]}: "
                "load maps that were trained on this base model"
            )
        moves = [
            affine.at(strengths_of_rows(strengths, len(z), images, name), fraction=progress.fraction)
            for affine, strengths in parts
        ]
        return move(z, *_composed(moves, composition), axis=axis)

    return edit


def _composed(moves: list[Move], composition: Composition) -> Move:
    """One (scale_offset, shift) for several, (1, d) or (n, d) each."""
    scale, shift = moves[0]
    for scale_next, shift_next in moves[1:]:
        if composition == "chain":
            shift = shift + scale_next * shift
            scale = scale + scale_next * scale
        scale, shift = scale + scale_next, shift + shift_next
    return scale, shift
