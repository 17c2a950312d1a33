"""Maps folded into the weights: steering that costs nothing, and comes out again bit for bit.

An affine map of a layer's output is another layer of the same kind: for weight W and bias c, T(Wx + c) has the weight
w*W + U V^T W and the bias w*c + U V^T c + b; without U and V the same holds for a normalisation's own weight and bias,
number by number. Which layer makes an activation is seen by running the pipeline once: the one whose output is the
activation, number by number. Where none is (a sum of two branches, a layer without a bias, a normalisation and a map
that mixes features, a quantised weight, a layer that LoRA adds to, a model whose weights are offloaded in pieces), the
map stays a hook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from ...errors import LineaError
from ..activations import Site, edit_activations
from ..addresses import idle_projections, named_modules, steerable_modules
from ..affine.affine_map import acts
from ..affine.move import Move
from ..calls.acted import tell_resting
from ..curves import StrengthCurve
from ..dial import Dial
from ..steer import Layer, SteeredSite, resting, steered_sites
from .folded import FLOAT_DTYPES, is_offloaded, is_plain
from .makers import Witness

_FUSED: WeakSet[nn.Module] = WeakSet()
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
Kept = list[tuple[nn.Module, str, nn.Parameter | None]]


class Fusion:
    """Maps that were folded into the weights of a pipeline.

    Attributes:
        folded: activation name -> the layer that its map was folded into.
        hooked: activations whose maps stay hooks.
    """

    def __init__(self, models: Sequence[nn.Module] = ()) -> None:
        self._models = models
        self.folded: dict[str, nn.Module] = {}
        self.hooked: list[str] = []
        self.rest = ExitStack()
        self._modules: dict[str, nn.Module] = {}
        self._kept: Kept = []
        self._moves: dict[nn.Module, Move] = {}

    def fold(self, site: SteeredSite, layer: nn.Module | None, like: torch.Tensor) -> bool:
        """Fold one site's map into a layer, if that can be done exactly."""
        if layer is None or layer in self.folded.values():
            return False
        kept = fold_into(layer, site.move, like)
        if not kept:
            return False
        self._kept += kept
        self._moves[layer] = site.move
        self.folded[site.name] = layer
        _FUSED.add(layer)
        return True

    def keep_hook(self, site: SteeredSite) -> None:
        """Steer one site by a hook that stays until `undo`."""
        module = site.site.module
        self.hooked.append(site.name)
        self._modules[site.name] = module
        _FUSED.add(module)
        self.rest.callback(_FUSED.discard, module)
        self.rest.enter_context(edit_activations({site.name: module}, {site.name: site.edit}))

    def refuse_stale(self, pipe: Any) -> None:
        """Raise if some of the steered layers is no longer what the pipeline runs.

        Raises:
            LineaError: a LoRA was put around it or taken away, its model was replaced, or its projections were fused.
        """
        present = {module for _, module in steerable_modules(pipe)} - self._idle()
        for name, layer in (self.folded | self._modules).items():
            if layer not in present:
                raise LineaError(
                    f"got {name!r}, which the pipeline runs otherwise than when steering was fused into it (a LoRA "
                    "loaded or unloaded, fuse_qkv_projections, another model?): undo that or call unfuse_steering, "
                    "and fuse again afterwards"
                )

    def _idle(self) -> set[nn.Module]:
        return {module for model in self._models for module in idle_projections(model)}

    def undo(self) -> None:
        """Give every layer its own parameters back, in the dtype and on the device of today, and take the hooks off.

        Raises:
            LineaError: the weights were changed since, or copied by ``fuse_qkv_projections``; nothing is undone.
        """
        idle = self._idle()
        if any(layer in idle for layer in self._moves):
            raise LineaError(
                "got projections that fuse_qkv_projections has copied with the steering in them: call "
                "unfuse_qkv_projections first, and unfuse_steering then"
            )
        for layer, name, parameter in self._kept:
            _refuse_changed(layer, name, parameter, self._moves[layer])
        for layer, name, parameter in self._kept:
            if parameter is not None:
                parameter.data = parameter.data.to(getattr(layer, name))
            setattr(layer, name, parameter)
            _FUSED.discard(layer)
        self._kept.clear()
        self._moves.clear()
        self.rest.close()


def fuse(pipe: Any, layers: Sequence[Layer], run: Callable[[], object], *, dial: Dial | None = None) -> Fusion:
    """Fold maps at one strength each into the weights of a pipeline.

    Args:
        pipe: a diffusers pipeline.
        layers: maps with their strengths, () each.
        run: calls the pipeline once, with any prompt and as few steps as it takes.
        dial: how several maps of one activation act together.

    Raises:
        LineaError: a strength per picture, a map per step bin, or a model that is fused already.
    """
    refuse_rows(layers)
    sites = steered_sites(pipe, layers, dial)
    tell_resting(resting(pipe, layers), active=bool(sites))
    refuse_fused(sites)
    models = {name: pipe.components[name] for name in dict.fromkeys(site.site.component for site in sites)}
    resident = {name for name, model in models.items() if not is_offloaded(model)}
    fusion = Fusion(list(models.values()))
    makers = makers_of([site.site for site in sites if site.site.component in resident], run)
    with ExitStack() as stack:
        stack.callback(fusion.undo)
        for site in sites:
            like = next(p for p in models[site.site.component].parameters() if p.dtype in FLOAT_DTYPES)
            if not fusion.fold(site, makers.get(site.name), like):
                fusion.keep_hook(site)
        stack.pop_all()
    return fusion


def refuse_rows(layers: Sequence[Layer]) -> None:
    """Raise if weights, which are the same for all pictures and steps, cannot hold maps.

    Raises:
        LineaError: a strength for each picture, or a map for each part of the schedule.
    """
    for maps, strength in layers:
        several = isinstance(strength, StrengthCurve) or strength.ndim
        if several or any(affine.bins > 1 and acts(affine) for affine in maps.values()):
            raise LineaError(
                "got a strength for each picture or a curve, or maps for parts of the schedule: expected one strength, "
                "and maps that all steps share; weights are the same for all of them"
            )


def refuse_fused(sites: Sequence[SteeredSite]) -> None:
    """Raise if some layer within the sites is fused already.

    Raises:
        LineaError: it is, by this pipeline or by another that shares the model.
    """
    for site in sites:
        if any(layer in _FUSED for layer in site.site.module.modules()):
            raise LineaError(
                f"got {site.name!r}, whose model has maps fused into it already (perhaps by another pipeline that "
                "shares it): call unfuse_steering there first"
            )


def makers_of(sites: list[Site], run: Callable[[], object]) -> dict[str, nn.Module | None]:
    """The layer whose output each site's activation is, or None.

    Args:
        sites: with modules that are layers themselves, or contain them.
        run: calls the pipeline once; needed only if some module is no single layer.
    """
    makers: dict[str, nn.Module | None] = {s.name: s.module for s in sites if not list(s.module.children())}
    others = [site for site in sites if site.name not in makers]
    if not others:
        return makers
    seen: dict[str, set[nn.Module | None]] = {site.name: set() for site in others}
    with ExitStack() as stack:
        for site in others:
            layers = [layer for _, layer in named_modules(site.module) if not list(layer.children())]
            witness = Witness()
            stack.enter_context(witness.watching(layer for layer in layers if _has_weight(layer)))
            stack.enter_context(site.module.register_forward_hook(_ask(witness, site, seen[site.name])))
        run()
    return {**makers, **{name: origins.pop() if len(origins) == 1 else None for name, origins in seen.items()}}


def _ask(witness: Witness, site: Site, origins: set[nn.Module | None]) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        origins.add(witness.maker(site.read(output)))
        witness.forget()

    return hook


def _has_weight(layer: nn.Module) -> bool:
    return isinstance(layer, _LAYERS) or "Norm" in type(layer).__name__


def fold_into(layer: nn.Module, move: Move, like: torch.Tensor) -> Kept:
    """Give a layer the parameters with which its output is moved.

    Args:
        layer: a Linear or a convolution; or, for a move that is coordinate-wise, a convolution in groups or a
            normalisation.
        move: of one row.
        like: a tensor of the dtype and device that a layer without parameters works in.

    Returns:
        The parameters that it had, to be set again; nothing if it cannot be done and the layer is as before.
    """
    # what mixes features goes where every output sees every input: no normalisation, no convolution in groups
    foldable = type(layer) in _LAYERS and not (move.rank and getattr(layer, "groups", 1) > 1)
    foldable = foldable or ("Norm" in type(layer).__name__ and not move.rank)
    kept: Kept = [(layer, name, getattr(layer, name)) for name in ("weight", "bias") if hasattr(layer, name)]
    unused = len(kept) < 1 + move.shifts  # no place for a shift
    if not foldable or unused or not is_plain(layer):
        return []
    like = next((parameter for _, _, parameter in kept if parameter is not None), like)
    move = move.to(like.device)
    probe = _probe(layer, move.features).to(like)
    with torch.no_grad():
        before = _output(layer, probe)
        for _, name, parameter in kept:
            setattr(layer, name, nn.Parameter(_folded(name, parameter, move).to(like.dtype), False))
        after = _output(layer, probe)
    if before is None or after is None or not _agree(after, before, move):
        for _, name, parameter in kept:
            setattr(layer, name, parameter)
        return []
    return kept


def _folded(name: str, present: nn.Parameter | None, move: Move) -> torch.Tensor:
    """A new weight or bias for the present one, float32."""
    weight, bias = move.layer_change(*((None, present) if name == "bias" else (present, None)))
    if name == "bias":
        return bias if present is None else present.float() + bias
    return 1 + weight if present is None else present.float() + weight


def _refuse_changed(layer: nn.Module, name: str, parameter: nn.Parameter | None, move: Move) -> None:
    """Raise if a folded parameter is not what folding made of the layer's own one, to half precision.

    Raises:
        LineaError: its numbers are others, or it is quantised or offloaded.
    """
    present = getattr(layer, name)
    same = type(present.data) is torch.Tensor and present.device.type != "meta"
    if same and present.dtype in FLOAT_DTYPES:
        device = move.device if parameter is None else parameter.device
        wanted = _folded(name, parameter, move.to(device)).to(present.device)
        same = torch.allclose(present.float(), wanted, rtol=2**-7, atol=1e-6)
    if not same:
        raise LineaError(
            f"got a {type(layer).__name__} whose {name} was changed after steering was fused into it (by fuse_lora, "
            "quantisation, offloading?): undo that first, such as by unfuse_lora, and call unfuse_steering then"
        )


def _probe(layer: nn.Module, features: int) -> torch.Tensor:
    """An input for a layer, from a generator of its own."""
    shape: tuple[int, ...] = (3, features)
    if isinstance(layer, nn.Linear):
        shape = (3, layer.in_features)
    elif isinstance(layer, nn.Conv1d | nn.Conv2d):
        shape = (1, layer.in_channels, *(5,) * (layer.weight.ndim - 2))
    elif isinstance(layer, nn.GroupNorm):
        shape = (2, features, 3, 3)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _output(layer: nn.Module, probe: torch.Tensor) -> torch.Tensor | None:
    """What a layer makes of the probe; None if it wants other inputs."""
    try:
        output = layer.forward(probe)
    except (TypeError, RuntimeError, ValueError, AttributeError, IndexError):
        return None
    return output if isinstance(output, torch.Tensor) else None


def _agree(after: torch.Tensor, before: torch.Tensor, move: Move) -> bool:
    """Whether one output is the other, moved, to rounding."""
    expected = move.apply(before.float(), axis=1)
    tolerance = 8 * torch.finfo(after.dtype).eps * float(expected.abs().max())
    return float((after.float() - expected).abs().max()) <= tolerance
