"""The set of affine maps that steers a model: applied, combined, and (`file_methods`) saved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from ..errors import LineaError, as_number, nearest_hint, short
from ..steering.addresses import Address, locate
from ..steering.affine.affine_map import LOW_RANK, PARTS, AffineMap, acts
from ..steering.calls.call import RunningCall
from ..steering.curves import read_curve
from ..steering.dial import Calibration, check_strength, choose_calibration, is_curve
from ..steering.language import steerable
from ..steering.steer import steer
from .description import aligned, described
from .facts import Facts
from .file_methods import FileMethods
from .plain_tensors import PlainMap, numbers_from, plain


class SteeringMaps(FileMethods):
    """The maps of one concept: canonical activation name -> `AffineMap`, with what was recorded at training.

    Maps form a vector space of moves: ``a + b``, ``a - b``, ``0.5 * a``, ``-a`` (at strength 1 what a is at -1).
    ``a.then(b)`` acts one after the other, ``a.inverse()`` undoes.

    Args:
        features: per activation the dimension d, (bins, d) for a map per step bin, or (bins, d, rank) for maps with a
            low-rank part.
        metadata: JSON-able facts: base model, concept, training configuration, losses, calibration.

    Attributes:
        maps: the affine maps; names with ``.`` written as ``/`` (a `torch.nn.ModuleDict`).
        metadata: the facts.
        on_saved: called once when the maps are on disk or on the Hub, if anything waits for that.
    """

    __array_ufunc__ = None  # numpy's numbers leave ``number * maps`` to the maps

    def __init__(
        self, features: Mapping[str, int | tuple[int, ...]], metadata: Mapping[str, Any] | None = None
    ) -> None:
        shapes = {name: shape if isinstance(shape, tuple) else (1, shape) for name, shape in features.items()}
        self.maps = nn.ModuleDict({_key(name): AffineMap(d, bins, *rank) for name, (bins, d, *rank) in shapes.items()})
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.on_saved: Callable[[], None] | None = None

    @classmethod
    def of(cls, maps: Mapping[str, AffineMap], metadata: Mapping[str, Any] | None = None) -> SteeringMaps:
        """A set of the given maps."""
        result = cls({}, metadata)
        result.maps = nn.ModuleDict({_key(name): affine for name, affine in maps.items()})
        return result

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Sequence[Any]], metadata: Mapping[str, Any] | None = None
    ) -> SteeringMaps:
        """Maps from plain numbers, such as another program's: T(z) = w*z + b, or w*z + U V^T z + b.

        Args:
            tensors: activation name -> (w, b), or (w, b, U, V), torch tensors or NumPy arrays: w and b
                (d,), or (bins, d) for a map per step bin, U and V (d, r) or (bins, d, r). The identity is w = 1, b = 0.
            metadata: facts, such as ``{"concept": "neon", "base_model": "stabilityai/sdxl-turbo"}``.

        Returns:
            Maps of float32 copies, not to be trained.

        Raises:
            LineaError: shapes, names or numbers that maps cannot have.
        """
        return cls.from_numbers(numbers_from(tensors), metadata or {})

    def to_tensors(self) -> dict[str, PlainMap]:
        """The inverse of `from_tensors`: activation name -> (w, b), or (w, b, U, V) where it has a low-rank part.

        Float64 copies on the CPU, because a w near 1 loses its change in float32; ``tensor.numpy()`` gives arrays.
        """
        return {name: plain(affine) for name, affine in self.named_maps()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(\n{aligned(described(self), indent='  ')}\n)"

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every tensor of every map."""
        return self.maps.parameters()

    def to(self, device: torch.device | str) -> SteeringMaps:
        """Move the maps; they stay float32. Returns itself."""
        self.maps.to(device)
        return self

    def requires_grad_(self, wanted: bool = True) -> SteeringMaps:
        """Let the maps be trained, or not. Returns itself."""
        self.maps.requires_grad_(wanted)
        return self

    def named_maps(self) -> Iterator[tuple[str, AffineMap]]:
        """(canonical activation name, map) in stored order."""
        for key, affine in self.maps.items():
            assert isinstance(affine, AffineMap)
            yield key.replace("/", "."), affine

    def acting(self) -> Iterator[tuple[str, AffineMap]]:
        """The maps that must be hooked: those in training, and those that are not exactly the identity."""
        for name, affine in self.named_maps():
            if acts(affine):
                yield name, affine

    def modules_in(self, pipe: Any) -> dict[str, nn.Module]:
        """The modules of `pipe` that these maps steer, by activation name.

        Components that the pipeline does without (they are None) are left out: maps of them rest.

        Raises:
            LineaError: a module is missing: the maps were made for another model.
        """
        facts = Facts.of(self.metadata)
        base = " of ".join(one for one in (facts.base_class, facts.base_model) if one) or "another model"
        return locate(pipe, [name for name, _ in self.named_maps()], base=base)

    def subset(self, *choices: str) -> SteeringMaps:
        """Some of these maps: those of components, or of activations whose whole name matches a regular expression.

        Args:
            *choices: such as ``"unet"``, ``"text_encoder"``, ``r"unet\\.mid_block.*"``.

        Raises:
            LineaError: a choice that finds none; the error names the nearest.
        """
        named = dict(self.named_maps())
        components = list(dict.fromkeys(Address.of(name).component for name in named))
        union: set[str] = set()
        for choice in choices:
            matches = {name for name in named if Address.of(name).component == choice or _matches(choice, name)}
            if not matches:
                raise LineaError(
                    f"got {choice!r}, which finds none of {len(named)} maps: expected a component "
                    f"({', '.join(components)}) or a regular expression for a whole activation name"
                    + nearest_hint(choice, [*components, *named])
                )
            union |= matches
        kept = {name: affine.times(1.0) for name, affine in named.items() if name in union}
        return self._combined(kept, f"{', '.join(choices)} of {{}}")

    def apply(
        self,
        pipe: Any,
        strength: Any = 1.0,
        *,
        num_images_per_prompt: int = 1,
        calibrated: bool | None = None,
    ) -> AbstractContextManager[Any]:
        """Within the context every call of `pipe` is steered; what a callback of such a call calls is not.

        Args:
            pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`; or a language model of transformers in any form
                that `steerable` takes, whose ``generate`` is then steered.
            strength: a finite number (0: the base model, 1: the concept as learned; also below 0 or above 1), a
                sequence with one number per prompt of the batch, or a curve over the schedule, see `is_curve`.
            num_images_per_prompt: what the pipeline is called with: a prompt's strength goes to all its images.
            calibrated: how the strength is read, see `dial`: on the curve of `calibrate` where the maps have one
                (None), as a share of the way in activations (False), or on the curve or not at all (True).

        Raises:
            LineaError: a strength that is not finite, maps of another model, ``calibrated=True`` without a calibration,
                or a batch that the strengths do not fit.
        """
        base = steerable(pipe)
        self.modules_in(base)
        positions = self.dial(calibrated).positions
        values = read_curve(strength).through(positions) if is_curve(strength) else positions(check_strength(strength))
        return steer(base, [(dict(self.named_maps()), values)], call=RunningCall(images=num_images_per_prompt))

    def dial(self, calibrated: bool | None = None) -> Calibration:
        """How strengths are read: the one door between what a user turns and what the maps do.

        Args:
            calibrated: None reads them on the curve that `calibrate` stored where there is one, False as the share of
                the way in activations, True on the curve.

        Raises:
            LineaError: True, and the maps were never calibrated.
        """
        return choose_calibration(Facts.of(self.metadata).calibration, calibrated)

    def calibrated(self, strengths: torch.Tensor) -> torch.Tensor:
        """The strengths that give equal steps of style for equal steps of `strengths`, see `Calibration.positions`.

        Raises:
            LineaError: the maps were never calibrated.
        """
        return self.dial(True).positions(strengths)

    def inverse(self) -> SteeringMaps:
        """Maps that undo these at strength 1 (arXiv 2503.10679 uses them to induce what a map removes).

        Raises:
            LineaError: a scale too near to zero to be undone.
        """
        return self._combined({name: affine.inverse() for name, affine in self.named_maps()}, "inverse of {}")

    def then(self, other: SteeringMaps) -> SteeringMaps:
        """These maps first, the others after them, as one set: at strength 1 what chaining both does."""
        return self._joined(other, AffineMap.then, "{}, then {}")

    def __add__(self, other: SteeringMaps) -> SteeringMaps:
        return self._joined(other, AffineMap.plus, "{} + {}")

    def __sub__(self, other: SteeringMaps) -> SteeringMaps:
        return self._joined(-other, AffineMap.plus, "{} + {}")

    def __mul__(self, factor: float) -> SteeringMaps:
        number = as_number(factor)
        if number is None:
            raise LineaError(f"got maps times {short(factor)}: expected a finite number")
        return self._combined({name: affine.times(number) for name, affine in self.named_maps()}, f"{number:g} * {{}}")

    __rmul__ = __mul__

    def __neg__(self) -> SteeringMaps:
        return self * -1.0

    def _joined(self, other: SteeringMaps, join: Any, wording: str) -> SteeringMaps:
        mine, theirs = dict(self.named_maps()), dict(other.named_maps())
        joined = {}
        for name in [*mine, *(name for name in theirs if name not in mine)]:
            affine = mine.get(name) or theirs[name]
            identity = affine.times(0)
            joined[name] = join(mine.get(name, identity), theirs.get(name, identity))
        return self._combined(joined, wording, other)

    def _combined(self, maps: Mapping[str, AffineMap], wording: str, *others: SteeringMaps) -> SteeringMaps:
        facts = [Facts.of(operand.metadata) for operand in (self, *others)]
        kept = Facts(base_model=facts[0].base_model, base_class=facts[0].base_class)
        concept = wording.format(*(f"({one.concept or 'maps'})" for one in facts))
        return SteeringMaps.of(maps, kept.as_metadata() | Facts(concept=concept).as_metadata())

    def trimmed(self) -> SteeringMaps:
        """The same maps without ranks that do nothing, see `AffineMap.trimmed`; copies, not to be trained."""
        copy = SteeringMaps.of({name: affine.trimmed() for name, affine in self.named_maps()}, self.metadata)
        copy.on_saved = self.on_saved
        return copy

    def numbers(self) -> dict[str, torch.Tensor]:
        """``<name>.<part>`` of every map and each of its `PARTS`, as they are stored: without ranks that do nothing."""
        return {
            f"{name}.{part}": tensor.detach()
            for name, affine in self.trimmed().named_maps()
            for part, tensor in affine.tensors().items()
        }

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> SteeringMaps:
        """The inverse of `numbers`: maps that act the same, each with its own rank and bins."""
        names = dict.fromkeys(key.rpartition(".")[0] for key in numbers)
        keys = {name: {part: f"{name}.{part}" for part in PARTS if f"{name}.{part}" in numbers} for name in names}
        maps = {name: AffineMap.of({part: numbers[key] for part, key in parts.items()}) for name, parts in keys.items()}
        return cls.of(maps, metadata)

    @property
    def rank(self) -> int:
        """The largest rank of a map's U V^T; 0 if all maps are coordinate-wise."""
        return max((affine.rank for _, affine in self.named_maps()), default=0)

    @property
    def size(self) -> int:
        """How many numbers there are, zeros among them."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def stored(self) -> int:
        """How many numbers are not exactly zero: what a file of them holds."""
        return sum(affine.stored for _, affine in self.named_maps())

    @property
    def support(self) -> float:
        """Share of the numbers that are not exactly zero, [0, 1]."""
        return self.stored / max(self.size, 1)

    def summary(self) -> str:
        """A table of the maps: per module the features, the rank and the largest absolute numbers, and the support.

        There are columns for the rank, U and V only where some map has a low-rank part.
        """
        named = dict(self.named_maps())
        parts = {part: symbol for part, symbol in PARTS.items() if any(part in a.tensors() for a in named.values())}
        mixes = len(parts) > len(PARTS) - len(LOW_RANK)
        titles = " ".join([*(["   r"] if mixes else []), *(f"{f'max|{symbol}|':>9}" for symbol in parts.values())])
        rows = [f"{'module':<72} {'d':>5} {titles} {'support':>8}"]
        for name, affine in named.items():
            numbers = affine.tensors()
            largest = [f"{numbers[part].abs().max().item():>9.4f}" if part in numbers else f"{'':>9}" for part in parts]
            cells = " ".join([*([f"{affine.rank:>4}"] if mixes else []), *largest])
            rows.append(f"{name:<72} {affine.features:>5} {cells} {affine.support:>8.1%}")
        active = sum(not affine.is_identity for affine in named.values())
        last = f"{len(named)} modules ({active} act), {self.size} parameters, support {self.support:.2%}"
        return "\n".join([*rows, last])


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise LineaError(f"got {pattern!r}: expected a component or a regular expression ({error})") from None


def _key(name: str) -> str:
    return Address.of(name).name.replace(".", "/")
