"""Affine maps on activations, and the set of them that steers a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .activations import Edit, edit_activations, feature_axis
from .errors import LineaError
from .modules import nearest_name, steerable_modules
from .storage import read_maps, write_maps

Strength = float | torch.Tensor


class AffineMap(nn.Module):
    """One coordinate-wise affine map T(z) = w*z + b on activations with d features.

    Stored as ``scale_offset`` = w - 1 and ``shift`` = b, float32, so that a fresh map is the identity and
    small changes survive half precision. At strength s it acts as T_s(z) = z + s*((w-1)*z + b)
    (arXiv 2503.10679, section 3).
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.scale_offset = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))

    @property
    def is_identity(self) -> bool:
        """Whether every number of the map is exactly zero."""
        return not (self.scale_offset.any() or self.shift.any())

    def forward(self, z: torch.Tensor, strength: Strength = 1.0, *, axis: int = -1) -> torch.Tensor:
        """Map activations.

        Args:
            z: activations, (n, ..., d) or with d at `axis`; any float dtype, which is kept.
            strength: a number, or (n,) one per sample.
            axis: where the d features are.
        """
        shape = [1] * z.ndim
        shape[axis] = -1
        if isinstance(strength, torch.Tensor) and strength.ndim:
            strength = strength.to(z.device).reshape(-1, *(1,) * (z.ndim - 1))
        scale_offset, shift = self.scale_offset.reshape(shape), self.shift.reshape(shape)
        wide = z.float()
        return (wide + strength * (scale_offset * wide + shift)).to(z.dtype)


class SteeringMaps:
    """The maps of one concept: canonical module name -> `AffineMap`, with what was recorded at training.

    Attributes:
        maps: the affine maps; names with ``.`` written as ``/`` (a `torch.nn.ModuleDict`).
        metadata: JSON-able facts: base model, concept, training configuration, losses.
    """

    def __init__(self, features: Mapping[str, int], metadata: Mapping[str, Any] | None = None) -> None:
        self.maps = nn.ModuleDict({name.replace(".", "/"): AffineMap(d) for name, d in features.items()})
        self.metadata: dict[str, Any] = dict(metadata or {})

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every ``scale_offset`` and ``shift``, each (d,)."""
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
        """(canonical module name, map) in stored order."""
        for key, affine in self.maps.items():
            assert isinstance(affine, AffineMap)
            yield key.replace("/", "."), affine

    def modules_in(self, pipe: Any) -> dict[str, nn.Module]:
        """The modules of `pipe` that these maps steer.

        Raises:
            LineaError: a module is missing: the maps were made for another model.
        """
        present = dict(steerable_modules(pipe))
        names = [name for name, _ in self.named_maps()]
        for name in names:
            if name not in present:
                raise LineaError(
                    f"got maps of {self.metadata.get('base_class', 'another model')} whose module {name!r} is not in "
                    f"this {type(pipe).__name__} (nearest: {nearest_name(name, present)}): expected maps "
                    "that were trained on this base model; load those or train new ones"
                )
        return {name: present[name] for name in names}

    @contextmanager
    def apply(
        self, pipe: Any, strength: Strength | Sequence[float] = 1.0, *, num_images_per_prompt: int = 1
    ) -> Iterator[None]:
        """Within the context every call of `pipe` is steered.

        Args:
            pipe: a diffusers pipeline, or a `LinEASDiffusionPipeline`.
            strength: a finite number (0: the base model, 1: the concept as learned; also below 0 or above 1), or
                a sequence with one number per prompt of the batch.
            num_images_per_prompt: what the pipeline is called with: a prompt's strength goes to all its images.

        Raises:
            LineaError: a strength that is not finite, maps of another model, or a batch that the strengths
                do not fit.
        """
        modules = self.modules_in(pipe)
        values = check_strength(strength)
        edits = {}
        if bool(torch.any(values != 0)):
            for name, affine in self.named_maps():
                if affine.shift.requires_grad or not affine.is_identity:
                    edits[name] = _edit(name, affine, modules[name], values, num_images_per_prompt)
        with edit_activations(modules, edits):
            yield

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``steering.safetensors``, ``config.json`` and a model card ``README.md`` into `folder`."""
        numbers = {}
        for name, affine in self.named_maps():
            numbers[f"{name}.scale_offset"] = affine.scale_offset.detach()
            numbers[f"{name}.shift"] = affine.shift.detach()
        write_maps(Path(folder), numbers, self.metadata)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SteeringMaps:
        """Read maps that `save_pretrained` wrote: a local folder, or a Hugging Face Hub id.

        Raises:
            LineaError: nothing there, or a file that is not a valid set of maps.
        """
        numbers, metadata = read_maps(str(folder))
        names = list(dict.fromkeys(key.rpartition(".")[0] for key in numbers))
        maps = cls({name: len(numbers[f"{name}.shift"]) for name in names}, metadata)
        for name, affine in maps.named_maps():
            affine.scale_offset.data.copy_(numbers[f"{name}.scale_offset"])
            affine.shift.data.copy_(numbers[f"{name}.shift"])
        return maps.requires_grad_(False)

    def summary(self) -> str:
        """A table of the maps: per module the features and the largest absolute numbers."""
        rows = [f"{'module':<72} {'d':>5} {'max|w-1|':>9} {'max|b|':>9}"]
        for name, affine in self.named_maps():
            scale, shift = affine.scale_offset.abs().max().item(), affine.shift.abs().max().item()
            rows.append(f"{name:<72} {len(affine.shift):>5} {scale:>9.4f} {shift:>9.4f}")
        count = sum(parameter.numel() for parameter in self.parameters())
        return "\n".join([*rows, f"{len(self.maps)} modules, {count} parameters"])


def check_strength(strength: Strength | Sequence[float]) -> torch.Tensor:
    """A strength as a float32 tensor, () or (n,).

    Raises:
        LineaError: not a number, not finite, or an empty sequence.
    """
    try:
        values = torch.as_tensor(strength, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        values = torch.empty(0)
    if values.ndim > 1 or values.numel() == 0 or not bool(values.isfinite().all()):
        raise LineaError(
            f"got strength {strength!r}: expected a finite number (0 is the base model, 1 the concept) or a list of "
            "such numbers"
        )
    return values


def _edit(name: str, affine: AffineMap, module: nn.Module, strengths: torch.Tensor, images: int) -> Edit:
    def edit(z: torch.Tensor) -> torch.Tensor:
        axis = feature_axis(module, z)
        if z.shape[axis] != len(affine.shift):
            raise LineaError(
                f"got maps with {len(affine.shift)} features for {name!r} whose activation has {z.shape[axis]}: "
                "load maps that were trained on this base model"
            )
        return affine(z, _per_sample(strengths, len(z), images, name), axis=axis)

    return edit


def _per_sample(strengths: torch.Tensor, batch: int, images: int, name: str) -> torch.Tensor:
    """Strengths for the rows of a batch.

    Text encoders see the prompts; the denoiser sees each prompt's images side by side, and with
    classifier-free guidance that whole block twice: [uncond, cond].
    """
    if strengths.ndim == 0 or batch == len(strengths):
        return strengths
    rows = strengths.repeat_interleave(images)
    if batch % len(rows):
        raise LineaError(
            f"got {len(strengths)} strengths and a batch of {batch} at {name!r}: expected one strength per prompt"
        )
    return rows.repeat(batch // len(rows))
