"""What maps add to the layers of a model: weight and bias at strength 1; strength s adds s times as much, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...steering.addresses import steerable_modules
from ...steering.affine.affine_map import AffineMap
from ...steering.affine.layer_moves import low_rank_change
from ...steering.affine.move import Move
from ...steering.steer import SteeredSite, steered_sites
from ...steering.weights.folded import is_plain
from ...steering.weights.fusing import makers_of, refuse_rows
from .users import User, users_of


@dataclass(frozen=True, eq=False)
class LayerChange:
    """What strength 1 adds to a layer: ``B @ A`` to a weight that mixes features, `scale` to one that does not.

    Attributes:
        layer: canonical name of its module.
        lora_b: (d, k), float32; None for a normalisation.
        lora_a: (k, inputs), float32; likewise.
        scale: (d,), of a normalisation's weight; None for other layers.
        bias: (d,), float32; None where nothing is added.
    """

    layer: str
    lora_b: torch.Tensor | None = None
    lora_a: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    bias: torch.Tensor | None = None

    @property
    def is_norm(self) -> bool:
        """Whether it is a normalisation's."""
        return self.scale is not None

    @property
    def weight(self) -> torch.Tensor | None:
        """What is added to the weight."""
        return self.scale if self.lora_b is None or self.lora_a is None else self.lora_b @ self.lora_a


def layer_changes(
    pipe: Any, maps: Mapping[str, AffineMap], run: Callable[[], object]
) -> tuple[list[LayerChange], dict[str, str]]:
    """The changes of layers that maps are, and what is no change of a layer, with the reason.

    Args:
        pipe: a diffusers pipeline.
        maps: by activation name.
        run: calls the pipeline once, with any prompt and as few steps as it takes.

    Raises:
        LineaError: maps of another model, or a map per part of the schedule.
    """
    layers = [(maps, torch.tensor(1.0))]
    refuse_rows(layers)
    sites = steered_sites(pipe, layers)
    names = {module: name for name, module in steerable_modules(pipe)}
    with users_of(pipe, [site.site for site in sites]) as users:
        makers = makers_of([site.site for site in sites], run)
    changes: dict[str, LayerChange] = {}
    left: dict[str, str] = {}
    for site in sites:
        change = _change(site, makers.get(site.name), users.get(site.name), names)
        if isinstance(change, str):
            left[site.name] = change
        elif change.layer in changes:
            left[site.name] = "another map changes the same layer"
        else:
            changes[change.layer] = change
    return list(changes.values()), left


def _change(
    site: SteeredSite, maker: nn.Module | None, user: User | None, names: Mapping[nn.Module, str]
) -> LayerChange | str:
    """The change that one map is, or why it is none."""
    move = site.move
    if maker is not None and is_plain(maker):
        if isinstance(maker, nn.Linear):
            return _of_outputs(names[maker], maker, move)
        weight, bias = getattr(maker, "weight", None), getattr(maker, "bias", None)
        if "Norm" in type(maker).__name__ and weight is not None:
            if move.rank:
                return "a low-rank map of a normalisation"
            scale, shift = move.layer_change(weight, bias)
            return LayerChange(names[maker], scale=scale, bias=shift)
        return f"a {type(maker).__name__} that no LoRA file holds"
    if user is not None:
        return _of_inputs(names[user[0]], *user, move)
    return "no single layer makes the activation, and none alone takes it"


def _of_outputs(name: str, layer: nn.Linear, move: Move) -> LayerChange:
    """The change of the layer whose output is moved: (diag(w-1) + U V^T) W, and the bias to it."""
    _, bias = move.layer_change(None, layer.bias)
    return _trimmed(name, *low_rank_change(move, layer.weight.double()), bias)


def _of_inputs(name: str, layer: nn.Linear, columns: slice, move: Move) -> LayerChange:
    """The change of the one layer that takes the moved activation in some of its columns."""
    weight = layer.weight.double()[:, columns]
    mixing, picking = low_rank_change(move, torch.eye(move.features, dtype=torch.float64, device=weight.device))
    reading = weight.new_zeros(len(picking), layer.in_features)
    reading[:, columns] = picking
    return _trimmed(name, weight @ mixing, reading, weight @ move.shift[0].double())


def _trimmed(name: str, lora_b: torch.Tensor, lora_a: torch.Tensor, bias: torch.Tensor) -> LayerChange:
    used, shift = lora_b.any(0) & lora_a.any(1), bias.float().cpu()
    halves = lora_b[:, used].float().cpu(), lora_a[used].float().cpu()
    return LayerChange(name, *halves, None, shift if shift.any() else None)


@contextmanager
def added(pipe: Any, changes: Sequence[LayerChange], strength: float = 1.0) -> Iterator[None]:
    """Within the context the layers have `strength` times the changes in their weights and biases."""
    modules = dict(steerable_modules(pipe))
    with ExitStack() as stack, torch.no_grad():
        for change in changes:
            layer = modules[change.layer]
            for name, delta in (("weight", change.weight), ("bias", change.bias)):
                if delta is not None:
                    stack.callback(setattr, layer, name, getattr(layer, name))
                    setattr(layer, name, _sum(getattr(layer, name), strength * delta, layer))
        yield


def _sum(present: nn.Parameter | None, delta: torch.Tensor, layer: nn.Module) -> nn.Parameter:
    if present is None:
        like = next(layer.parameters())
        return nn.Parameter(delta.to(like.device, like.dtype), requires_grad=False)
    whole = present.float() + delta.reshape(present.shape).to(present.device)
    return nn.Parameter(whole.to(present.dtype), requires_grad=False)
