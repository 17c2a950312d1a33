"""`LinEASDiffusionPipeline`: any diffusers pipeline with a dial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from .calling import accepts
from .errors import LineaError
from .maps import SteeringMaps
from .modules import nearest_name
from .shapeland import DEFAULT_ARGUMENTS, MODELS
from .steering import Composition, steer
from .strengths import check_strength

StrengthArgument = float | torch.Tensor | Sequence[float]


class LinEASDiffusionPipeline:
    """A diffusers pipeline whose activations are steered, with a strength for each call or each picture.

    The wrapper shares the base pipeline's models and adds nothing to them: hooks live only during a call.
    Everything that is not named here (schedulers, LoRA, offloading, callbacks, ``to`` ...) is the base pipeline's
    own and is reached as usual.

    Args:
        base: any diffusers text-to-image pipeline.

    Attributes:
        base: the wrapped pipeline.
        steering: adapter name -> `SteeringMaps`, in the order in which they act.
        default_arguments: what a call passes to the base pipeline unless told otherwise; filled for embedded
            models (their steps and guidance), empty for others, and yours to fill.
    """

    base: Any
    steering: dict[str, SteeringMaps]
    default_arguments: dict[str, Any]

    def __init__(self, base: Any) -> None:
        if not isinstance(base, DiffusionPipeline):
            raise LineaError(
                f"got a {type(base).__name__}: expected a diffusers pipeline; to load one by name use "
                "LinEASDiffusionPipeline.from_pretrained"
            )
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "steering", {})
        object.__setattr__(self, "default_arguments", {})

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, dtype: torch.dtype = torch.float32, **kwargs: Any
    ) -> LinEASDiffusionPipeline:
        """Load a base pipeline: an embedded model (``shapeland-unet``), a diffusers folder, or a Hub id.

        Args:
            name: what to load.
            dtype: of the weights.
            **kwargs: passed to diffusers' own ``from_pretrained``.

        Raises:
            LineaError: nothing loadable there.
        """
        place = MODELS.get(str(name), name)
        if not Path(place).is_dir() and (Path(place).is_absolute() or str(place).startswith(".")):
            raise LineaError(
                f"got model {str(name)!r}, and no such folder: expected a diffusers folder, a Hub id, or one of "
                f"{', '.join(MODELS)}"
            )
        try:
            base = DiffusionPipeline.from_pretrained(place, dtype=dtype, **kwargs)
        except (OSError, ValueError) as error:
            raise LineaError(
                f"got model {str(name)!r}: expected a diffusers folder, a reachable Hub id, or one of "
                f"{', '.join(MODELS)} ({_first_line(error)})"
            ) from None
        base.register_to_config(_name_or_path=str(name))
        base.set_progress_bar_config(leave=False)
        pipe = cls(base)
        pipe.default_arguments.update(DEFAULT_ARGUMENTS.get(str(name), {}))
        return pipe

    def __getattr__(self, name: str) -> Any:
        if name == "base":  # a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self.base, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            object.__setattr__(self, name, value)
        else:
            setattr(self.base, name, value)

    def to(self, *args: Any, **kwargs: Any) -> LinEASDiffusionPipeline:
        """Move the base pipeline and the maps, as diffusers' own ``to``; returns the wrapper."""
        self.base.to(*args, **kwargs)
        for maps in self.steering.values():
            maps.to(self.base.device)
        return self

    def load_steering(self, source: SteeringMaps | str | Path, adapter_name: str = "default") -> None:
        """Add maps under a name, replacing those of the same name.

        Args:
            source: maps, a folder that ``save_pretrained`` wrote, or a Hub id.
            adapter_name: what ``strength={...}`` calls them.

        Raises:
            LineaError: unreadable maps, or maps of another model.
        """
        maps = source if isinstance(source, SteeringMaps) else SteeringMaps.from_pretrained(source)
        maps.modules_in(self.base)
        self.steering[adapter_name] = maps.to(self.base.device)

    def unload_steering(self, adapter_name: str | None = None) -> None:
        """Remove one set of maps, or all of them."""
        for name in [adapter_name] if adapter_name is not None else list(self.steering):
            self._known(name)
            del self.steering[name]

    def get_list_steering(self) -> list[str]:
        """Names of the loaded maps, in the order in which they act."""
        return list(self.steering)

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *args: Any,
        strength: StrengthArgument | Mapping[str, StrengthArgument] | None = None,
        composition: Composition = "sum",
        calibrated: bool = False,
        denoising_strength: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate as the base pipeline does, steered.

        Args:
            prompt: as for the base pipeline.
            strength: 0 is the base model bit for bit, 1 (the default when maps are loaded) the concept as learned.
                A list renders one prompt at each strength, in one batch from one noise; with a list of prompts
                it gives each its own. A dict gives each loaded adapter its strength (0 where it is left out).
            composition: how several adapters act together: ``"sum"`` adds their moves up, in any order; ``"chain"``
                lets one act after the other, in the order of loading.
            calibrated: read strengths on the dial that `calibrate` fitted, where equal steps look equal.
            denoising_strength: the ``strength`` of image-to-image base pipelines.
            *args, **kwargs: of the base pipeline.

        Returns:
            What the base pipeline returns.

        Raises:
            LineaError: a strength without loaded maps, not finite, or not matching the prompts; ``calibrated`` with
                maps that never were.
        """
        if denoising_strength is not None:
            if not accepts(self.base, "strength"):
                raise LineaError(
                    f"got denoising_strength, which {type(self.base).__name__} has no use for: leave it out"
                )
            kwargs["strength"] = denoising_strength
        kwargs = {**self.default_arguments, **kwargs}
        strengths = self._strengths(strength)
        rows = {len(values) for values in strengths.values() if values.ndim}
        if len(rows) > 1:
            raise LineaError(f"got strength lists of lengths {sorted(rows)}: expected equal lengths")
        if rows:
            prompt, kwargs = self._spread(prompt, rows.pop(), kwargs)
        if calibrated:
            strengths = {name: self.steering[name].calibrated(strengths[name]) for name in self.steering}
        adapters = [(maps, strengths[name]) for name, maps in self.steering.items()]
        images = kwargs.get("num_images_per_prompt") or 1
        with steer(self.base, adapters, composition=composition, num_images_per_prompt=images):
            return self.base(prompt, *args, **kwargs)

    def _strengths(self, strength: StrengthArgument | Mapping[str, StrengthArgument] | None) -> dict[str, torch.Tensor]:
        if isinstance(strength, Mapping):
            for name in strength:
                self._known(name)
            return {name: check_strength(strength.get(name, 0.0)) for name in self.steering}
        value = check_strength(1.0 if strength is None else strength)
        if not self.steering and strength is not None and bool(torch.any(value != 0)):
            raise LineaError(f"got strength {strength!r} and no maps: call load_steering first")
        return dict.fromkeys(self.steering, value) or {"": value}

    def _known(self, name: str) -> None:
        if name not in self.steering:
            near = nearest_name(name, self.steering) if self.steering else "none are loaded"
            raise LineaError(f"got adapter {name!r}: expected one of {list(self.steering)}; nearest: {near}")

    def _spread(self, prompt: Any, rows: int, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """One prompt for `rows` strengths: repeat it, and give every row the same noise."""
        if isinstance(prompt, str):
            prompt = [prompt]
        if prompt is None or len(prompt) not in (1, rows):
            raise LineaError(
                f"got {rows} strengths and {'no' if prompt is None else len(prompt)} prompts: expected one prompt, or "
                "one for each strength"
            )
        if len(prompt) == rows and rows > 1:
            return list(prompt), kwargs
        kwargs = dict(kwargs)
        images = kwargs.get("num_images_per_prompt") or 1
        if kwargs.get("latents") is not None:
            kwargs["latents"] = kwargs["latents"].repeat(rows, *(1,) * (kwargs["latents"].ndim - 1))
        kwargs["generator"] = _same_noise(kwargs.get("generator"), images, rows, self.base.device)
        return list(prompt) * rows, kwargs


def _same_noise(generator: Any, images: int, rows: int, device: torch.device) -> list[torch.Generator]:
    """Generators for `rows` times the same `images` noises.

    One generator for one picture is copied, so that the row begins with exactly the noise which the base
    pipeline would draw from it; for several pictures it seeds one generator each.
    """
    first = generator
    if generator is None:
        first = torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))
    if isinstance(first, torch.Generator):
        if images == 1:
            first = [first]
        else:
            seeds = torch.randint(2**62, (images,), generator=first, device=first.device).tolist()
            first = [torch.Generator(first.device).manual_seed(seed) for seed in seeds]
    if len(first) != images:
        raise LineaError(f"got {len(first)} generators: expected one, or one for each of {images} images per prompt")
    copies = [[torch.Generator(one.device).set_state(one.get_state()) for one in first] for _ in range(rows - 1)]
    return [*first, *(one for row in copies for one in row)]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
