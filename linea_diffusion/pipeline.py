"""`LinEASDiffusionPipeline`: any diffusers pipeline with a dial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from .adapters import Adapters, StrengthArgument, saved_adapters
from .batch_rows import STEERING_GUIDANCE, SteeringGuidance
from .calling import accepts
from .compiled import guard_hooks, refuse_stale_code
from .errors import LineaError
from .overflow import generator_states, look_out, refuse_overflow
from .prompt_notices import noticing, texts_in
from .rows import count_prompts, spread
from .shapeland import DEFAULT_ARGUMENTS, LOAD_ARGUMENTS, MODELS
from .sites import Composition
from .steering import steer
from .steering_methods import SteeringMethods
from .strengths import check_window


class LinEASDiffusionPipeline(SteeringMethods):
    """A diffusers pipeline whose activations are steered, with a strength for each call or each picture.

    The wrapper shares the base pipeline's models and adds nothing to them: hooks live only during a call.
    Everything that is not named here (schedulers, LoRA, offloading, callbacks, ``to`` ...) is the base pipeline's
    own and is reached as usual.

    Args:
        base: any diffusers text-to-image pipeline.

    Attributes:
        base: the wrapped pipeline.
        steering: adapter name -> `SteeringMaps`, in the order of loading.
        default_arguments: what a call passes to the base pipeline unless told otherwise; filled for embedded
            models (their steps and guidance), empty for others, and yours to fill.
    """

    def __init__(self, base: Any) -> None:
        if not isinstance(base, DiffusionPipeline):
            raise LineaError(
                f"got a {type(base).__name__}: expected a diffusers pipeline; to load one by name use "
                "LinEASDiffusionPipeline.from_pretrained"
            )
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "steering", Adapters())
        object.__setattr__(self, "default_arguments", {})
        guard_hooks()

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
            given = {**LOAD_ARGUMENTS.get(str(name), {}), **kwargs}
            base = DiffusionPipeline.from_pretrained(place, dtype=dtype, **given)
        except (OSError, ValueError) as error:
            raise LineaError(
                f"got model {str(name)!r}: expected a diffusers folder, a reachable Hub id, or one of "
                f"{', '.join(MODELS)} ({_first_line(error)})"
            ) from None
        base.register_to_config(_name_or_path=str(name))
        base.set_progress_bar_config(leave=False)
        pipe = cls(base)
        pipe.default_arguments.update(DEFAULT_ARGUMENTS.get(str(name), {}))
        if Path(place).is_dir():
            for adapter, maps in saved_adapters(Path(place)):
                pipe.load_steering(maps, adapter)
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

    @classmethod
    def from_pipe(cls, pipe: Any, pipeline_class: Any = None, **kwargs: Any) -> LinEASDiffusionPipeline:
        """A wrapper over the same models in another pipeline, with the same adapters; as diffusers' own ``from_pipe``.

        Args:
            pipe: a `LinEASDiffusionPipeline`, or a diffusers pipeline.
            pipeline_class: of diffusers, such as ``StableDiffusionImg2ImgPipeline``; the same class when left out.
            **kwargs: passed to diffusers' ``from_pipe``: other components, ``torch_dtype``.

        Raises:
            LineaError: steering is fused into the models.
        """
        base = getattr(pipe, "base", pipe)
        made = cls((pipeline_class or type(base)).from_pipe(base, **kwargs))
        if isinstance(pipe, LinEASDiffusionPipeline):
            pipe.steering.refuse_fusion("from_pipe")
            made.steering.update(pipe.steering)
            made.steering.chosen, made.steering.enabled = pipe.steering.chosen, pipe.steering.enabled
            known = {name: value for name, value in pipe.default_arguments.items() if accepts(made.base, name)}
            made.default_arguments.update(known)
        return made

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """Save the base pipeline as diffusers does, with the loaded adapters in ``steering/`` beside its parts.

        `from_pretrained` loads both; plain diffusers loads the folder as the base model.

        Args:
            folder: where to.
            **kwargs: passed to diffusers' ``save_pretrained``.

        Raises:
            LineaError: steering is fused into the weights that would be saved.
        """
        self.steering.refuse_fusion("save_pretrained")
        self.base.save_pretrained(folder, **kwargs)
        self.steering.save(Path(folder))

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *args: Any,
        strength: StrengthArgument | Mapping[str, StrengthArgument] | None = None,
        composition: Composition = "sum",
        calibrated: bool = False,
        steering_guidance: SteeringGuidance = "both",
        steering_start: float = 0.0,
        steering_end: float = 1.0,
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
            steering_guidance: with classifier-free guidance, steer what runs with the prompt and what runs with the
                negative one (``"both"``, as in training), or only the first (``"cond"``), which guidance then
                exaggerates.
            steering_start: share of the denoising schedule, [0, 1), that is done when steering begins. Text encoders
                run before it all and are steered only from 0 on.
            steering_end: share that is done when steering ends, (0, 1].
            denoising_strength: the ``strength`` of image-to-image base pipelines.
            *args, **kwargs: of the base pipeline.

        Returns:
            What the base pipeline returns.

        Raises:
            LineaError: a strength without loaded maps, not finite, or not matching the prompts; ``calibrated`` with
                maps that never were; a steered activation that overflows its dtype.
        """
        if steering_guidance not in STEERING_GUIDANCE:
            raise LineaError(
                f"got steering_guidance {steering_guidance!r}: expected one of {', '.join(STEERING_GUIDANCE)}"
            )
        window = check_window(steering_start, steering_end)
        kwargs = {**self.default_arguments, **self._own_strength(denoising_strength), **kwargs}
        strengths = self.steering.strengths(strength)
        prompt, strengths, kwargs = spread(prompt, strengths, kwargs, self.base.device)
        if calibrated:
            strengths = {name: self.steering[name].calibrated(strengths[name]) for name in self.steering}
        adapters = [(maps, strengths[name]) for name, maps in self.steering.items() if name in strengths]
        restore = generator_states(kwargs.get("generator"))

        def run() -> Any:
            return self.base(prompt, *args, **kwargs) if args else self.base(prompt=prompt, **kwargs)

        with (
            noticing(self.base, texts_in(prompt, kwargs)),
            steer(
                self.base, adapters, composition=composition, guidance=steering_guidance,
                window=window, prompts=count_prompts(prompt, kwargs),
                num_images_per_prompt=kwargs.get("num_images_per_prompt") or 1, in_norms=True,
            ) as sites,
            look_out(self.base) as outlook,
        ):  # fmt: skip
            result = run()
            refuse_stale_code(self.base, sites)
            if sites and outlook.broken:
                refuse_overflow(self.base, sites, run, restore)
        return result

    def _own_strength(self, denoising_strength: float | None) -> dict[str, float]:
        if denoising_strength is None:
            return {}
        if not accepts(self.base, "strength"):
            raise LineaError(f"got denoising_strength, which {type(self.base).__name__} has no use for: leave it out")
        return {"strength": denoising_strength}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
