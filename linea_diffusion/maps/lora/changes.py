"""What maps add to the layers of a model: weight and bias at strength 1; strength s adds s times as much, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    users: dict[str, tuple[nn.Linear, int] | None] = {}
    with _watching_users(pipe, sites, users):
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
    site: SteeredSite, maker: nn.Module | None, user: tuple[nn.Linear, int] | None, names: Mapping[nn.Module, str]
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


def _of_inputs(name: str, layer: nn.Linear, start: int, move: Move) -> LayerChange:
    """The change of the one layer that takes the moved activation, from its column `start` on."""
    columns = layer.weight.double()[:, start : start + move.features]
    identity = torch.eye(move.features, dtype=torch.float64, device=columns.device)
    mixing, picking = low_rank_change(move, identity)
    reading = columns.new_zeros(len(picking), layer.in_features)
    reading[:, start : start + move.features] = picking
    return _trimmed(name, columns @ mixing, reading, columns @ move.shift[0].double())


def _trimmed(name: str, lora_b: torch.Tensor, lora_a: torch.Tensor, bias: torch.Tensor) -> LayerChange:
    used, shift = lora_b.any(0) & lora_a.any(1), bias.float().cpu()
    halves = lora_b[:, used].float().cpu(), lora_a[used].float().cpu()
    return LayerChange(name, *halves, None, shift if shift.any() else None)


@contextmanager
def _watching_users(
    pipe: Any, sites: Sequence[SteeredSite], users: dict[str, tuple[nn.Linear, int] | None]
) -> Iterator[None]:
    """Within the context the linear layers are found that take a site's activation, as some of their columns.

    Those are looked for among the layers beside the site's module, and must be the same in every call.
    """
    modules = dict(steerable_modules(pipe))
    with ExitStack() as stack:
        for site in sites:
            parent = modules.get(site.site.address.module_name.rpartition(".")[0])
            beside = [] if parent is None else _linears(parent, outside=site.site.module)
            if beside and not isinstance(site.site.module, nn.Linear):
                for hook in _User(site, users).hooks(beside):
                    stack.callback(hook.remove)
        yield


def _linears(parent: nn.Module, *, outside: nn.Module) -> list[nn.Linear]:
    within = set(outside.modules())
    return [one for one in parent.modules() if isinstance(one, nn.Linear) and one not in within]


class _User:
    """Looks for the layer that takes one site's activation."""

    def __init__(self, site: SteeredSite, users: dict[str, tuple[nn.Linear, int] | None]) -> None:
        self.site, self.users = site, users
        self.activation: torch.Tensor | None = None

    def hooks(self, layers: Iterable[nn.Linear]) -> Iterator[Any]:
        yield self.site.site.module.register_forward_hook(self._made)
        for layer in layers:
            yield layer.register_forward_pre_hook(self._taken)

    def _made(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.activation = self.site.site.read(output).detach().clone()

    def _taken(self, layer: nn.Module, inputs: Any) -> None:
        z, x = self.activation, inputs[0] if inputs else None
        if z is None or not isinstance(x, torch.Tensor) or x.shape[:-1] != z.shape[:-1]:
            return
        assert isinstance(layer, nn.Linear)
        width = z.shape[-1]
        places = [at for at in {0, x.shape[-1] - width} if at >= 0 and torch.equal(x[..., at : at + width], z)]
        if places:
            found = (layer, min(places))
            known = self.users.setdefault(self.site.name, found)
            self.users[self.site.name] = found if known == found else None


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
