"""`LinEASDiffusionPipeline`: any diffusers pipeline with a dial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    DiffusionPipeline,
    ModularPipeline,
)

from ..concepts.notices import noticing, texts_in
from ..errors import LineaError
from ..shapeland import DEFAULT_ARGUMENTS, MODELS
from ..steering.addresses import absent
from ..steering.calls.acted import guard_hooks, tell_resting
from ..steering.curves import curve_of
from ..steering.dial import Composition, Dial, SteeringGuidance
from ..steering.steer import steer
from .adapter_methods import SteeringMethods
from .adapters import Adapters, Strengths
from .calling import for_base, one_thread, state_kept
from .description import described
from .encoding import keys_in, steered_encode_prompt
from .loading import Dtype, check_dtype, load_base, load_checkpoint
from .masking import Masking, composed_output, region_in_activations
from .modular import accepts, bars_of, called, is_pipeline, modular_like, with_state
from .overflow import generator_states, look_out, refuse_overflow, tell_unusable
from .prompts import rows_of, running_call, spread
from .steered_class import class_over, keep_adapters, root_of, tell_adapters_left


class LinEASDiffusionPipeline(SteeringMethods):
    """A diffusers pipeline whose activations are steered, with a strength for each call or each picture.

    The wrapper shares the base pipeline's models and adds nothing to them: hooks live only during a call.
    Everything that is not named here (schedulers, LoRA, offloading, callbacks, ``to`` ...) is the base pipeline's
    own and is reached as usual.

    Args:
        base: any diffusers text-to-image pipeline, modular ones included.

    Attributes:
        base: the wrapped pipeline.
        steering: adapter name -> `SteeringMaps`, in the order of loading.
        default_arguments: what a call passes to the base pipeline unless told otherwise; filled for embedded
            models (their steps and guidance), empty for others, and yours to fill.
    """

    def __new__(cls, base: Any) -> LinEASDiffusionPipeline:
        """An instance of the class for pipelines like `base`, which shows their parameters beside ours."""
        return object.__new__(class_over(cls, type(base)) if _is_plain(base) else cls)

    def __init__(self, base: Any) -> None:
        if isinstance(base, LinEASDiffusionPipeline):
            raise LineaError(
                "got a pipeline that is steered already: use it as it is, or wrap its pipe.base for one without its "
                "adapters"
            )
        if not _is_plain(base):
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
        cls, name: str | Path, *, dtype: Dtype | None = None, torch_dtype: Dtype | None = None, **kwargs: Any
    ) -> LinEASDiffusionPipeline:
        """Load a base pipeline: an embedded model (``shapeland-unet``), a diffusers folder, a Hub id or a checkpoint.

        Args:
            name: what to load; a file that ends in .safetensors or .ckpt is loaded as by `from_single_file`.
            dtype: of the weights, or {component: dtype} with ``"default"`` for the others; float32 when left out.
            torch_dtype: its older name.
            **kwargs: passed to diffusers' own ``from_pretrained``.

        Raises:
            LineaError: nothing loadable there, or not as asked.
        """
        pipe = cls(load_base(name, check_dtype(dtype, torch_dtype), **kwargs))
        pipe.default_arguments.update(DEFAULT_ARGUMENTS.get(str(name), {}))
        saved = Adapters()
        saved.load(Path(MODELS.get(str(name), name)))
        for adapter, maps in saved.items():
            pipe.load_steering(maps, adapter)
        pipe.steering.choice, pipe.steering.enabled = saved.choice, saved.enabled
        return pipe

    @classmethod
    def from_single_file(
        cls, file: str | Path, *, dtype: Dtype | None = None, torch_dtype: Dtype | None = None, **kwargs: Any
    ) -> LinEASDiffusionPipeline:
        """Load a base pipeline from one checkpoint file, as diffusers' own ``from_single_file``.

        Args:
            file: a .safetensors or .ckpt file, or its address on the Hub.
            dtype: of the weights; float32 when left out.
            torch_dtype: its older name.
            **kwargs: passed to diffusers: ``config``, a diffusers folder or Hub id that says the pipeline's class and
                sizes (when left out, the file's folder if it has a ``model_index.json``, else what diffusers takes
                the file for); components that the file is without.

        Raises:
            LineaError: no such file, or nothing that loads as asked.
        """
        return cls(load_checkpoint(file, check_dtype(dtype, torch_dtype), **kwargs))

    def __getattr__(self, name: str) -> Any:
        if name == "base":  # a copy that is not filled yet
            raise AttributeError(name)
        if name == "encode_prompt":
            return steered_encode_prompt(self.base, self.steering)
        return getattr(self.base, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            object.__setattr__(self, name, value)
        else:
            setattr(self.base, name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The base pipeline's: diffusers looks pipelines up by the name of their class, and at what they are."""
        return type(self.base)

    @property
    def config(self) -> Any:
        """The base pipeline's."""
        tell_adapters_left(list(self.steering))
        return self.base.config

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *vars(self), *dir(self.base)})

    def __repr__(self) -> str:
        return described(type(self).__name__, self.base, self.steering)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in vars(self).items() if name != "base"}
        return root_of(type(self)), (self.base,), state

    def to(self, *args: Any, **kwargs: Any) -> LinEASDiffusionPipeline:
        """Move the base pipeline and the maps, as diffusers' own ``to``; returns the wrapper."""
        self.base.to(*args, **kwargs)
        for maps in self.steering.values():
            maps.to(self.base.device)
        return self

    def set_progress_bar_config(self, **kwargs: Any) -> None:
        """As the base pipeline's own; of a modular one it reaches every block that has a bar."""
        for one in bars_of(self.base):
            one.set_progress_bar_config(**kwargs)

    @classmethod
    def from_pipe(cls, pipe: Any, pipeline_class: Any = None, **kwargs: Any) -> LinEASDiffusionPipeline:
        """A wrapper over the same models in another pipeline, with the same adapters; as diffusers' own ``from_pipe``.

        Args:
            pipe: a `LinEASDiffusionPipeline`, or a diffusers pipeline.
            pipeline_class: of diffusers, such as ``StableDiffusionImg2ImgPipeline``; the same class when left out.
            **kwargs: passed to diffusers' ``from_pipe``: other components, ``torch_dtype``. Without that the shared
                models keep their dtypes, which diffusers' own would turn into float32.

        Raises:
            LineaError: steering is fused into the models.
        """
        base = getattr(pipe, "base", pipe)
        made = cls(_from_pipe(pipeline_class or type(base), base, kwargs))
        if isinstance(pipe, LinEASDiffusionPipeline):
            pipe.steering.refuse_fusion("from_pipe")
            made.steering.update(pipe.steering)
            made.steering.sources.update(pipe.steering.sources)
            names = [name for maps in made.steering.values() for name, _ in maps.acting()]
            tell_resting(list(dict.fromkeys(absent(made.base, names))))
            made.steering.choice, made.steering.enabled = pipe.steering.choice, pipe.steering.enabled
            defaults = {name: value for name, value in pipe.default_arguments.items() if accepts(made.base, name)}
            made.default_arguments.update(defaults)
        return made

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """Save the base pipeline as diffusers does, with the loaded adapters in ``steering/`` beside its parts.

        What `set_steering` chose is saved with them. `from_pretrained` loads both; plain diffusers loads the folder as
        the base model.

        Args:
            folder: where to.
            **kwargs: passed to diffusers' ``save_pretrained``.

        Raises:
            LineaError: steering is fused into the weights that would be saved.
        """
        self.steering.refuse_fusion("save_pretrained")
        self.base.save_pretrained(str(folder), **kwargs)
        self.steering.save(Path(folder))

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *args: Any,
        strength: Strengths | None = None,
        composition: Composition = "sum",
        calibrated: bool | None = None,
        steering_guidance: SteeringGuidance = "both",
        steering_start: float = 0.0,
        steering_end: float = 1.0,
        strength_curve: Any = None,
        mask: Any = None,
        masking: Masking = "pictures",
        denoising_strength: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate as the base pipeline does, steered.

        Args:
            prompt: as for the base pipeline. A modular one may be given the state that other blocks left instead.
            strength: 0 is the base model bit for bit, 1 (the default when maps are loaded) the concept as learned.
                A list renders one prompt at each strength, in one batch from one noise; with a list of prompts
                it gives each its own. A dict gives each loaded adapter its strength (0 where it is left out), and may
                stand in such a list: ``[{"neon": 0.3}, {"mosaic": 0.7}]``. Each may be a curve over the
                schedule: a function of the share that is done, [0, 1), or points (share, strength) such as
                ``[(0, 0), (0.3, 1), (1, 0.5)]``; text encoders run at its beginning.
            composition: how several adapters act together: ``"sum"`` adds their moves up, in any order; ``"chain"``
                lets one act after the other, in the order of loading.
            calibrated: strengths are read on the dial that `calibrate` fitted, where equal steps look equal: wherever
                maps carry such a calibration (None), for all loaded maps (True), or nowhere, so that they are the
                shares of the way in activations (False).
            steering_guidance: with classifier-free guidance, steer what runs with the prompt and what runs with the
                negative one (``"both"``, as in training), or only the first (``"cond"``), which guidance then
                exaggerates.
            steering_start: share of the denoising schedule, [0, 1), that is done when steering begins. Text encoders
                run before it all and are steered only from 0 on. The schedule is the scheduler's whole list of
                timesteps: image-to-image at ``denoising_strength=0.5`` runs its second half.
            steering_end: share that is done when steering ends, (0, 1].
            strength_curve: a curve that all strengths are multiplied with, after they were read on their dials.
            mask: the part of the picture that is steered, white or 1, and softly what is grey: a PIL image, an array or
                a tensor (h, w), (n, h, w) or (n, 1, h, w), of any size; or a list with one for each prompt or picture,
                which renders one prompt once for each.
            masking: how. ``"pictures"`` makes the unsteered picture too, in a second run from the same noise, and shows
                that outside: nothing changes there, and inside all of the style arrives. ``"activations"`` steers
                activations where they are in the picture, in one run; places look at each other, so that some of the
                style gets out, and what has no place (text encoders, the prompt's tokens in a denoiser) is not steered.
                ``"activations+text"`` steers that, too.
            denoising_strength: the ``strength`` of image-to-image base pipelines.
            *args, **kwargs: of the base pipeline.

        Returns:
            What the base pipeline returns: of a modular one its state, or what ``output=`` names.

        Raises:
            LineaError: a strength without loaded maps, not finite, or not matching the prompts; a call that overlaps
                with another thread's on the same pipeline; ``calibrated=True`` with maps that never were; a steered
                activation that overflows its dtype; maps that something ran past (fused projections, code compiled
                before the wrapper), or embeddings where all maps are in text encoders (where the others act, a warning
                says which maps did nothing); a steered picture that its autoencoder makes of numbers that are not
                finite (without steering that is a warning).
        """
        curve = None if strength_curve is None else curve_of(strength_curve)
        region, placed = region_in_activations(mask, masking)
        if region is not None:
            self.steering.refuse_fusion("a call with a mask")
        within = region if placed else None
        dial = Dial(composition, steering_guidance, steering_start, steering_end, calibrated, curve, within)
        override = {} if denoising_strength is None else {"denoising_strength": denoising_strength}
        prompt, kwargs = with_state(self.base, prompt, kwargs)
        kwargs = for_base(self.base, {**self.default_arguments, **override, **kwargs})
        self.steering.refuse_stale_fusion(self.base)
        setting = self.steering.at(strength, dial)
        encoded = setting.key in keys_in(kwargs)
        prompt = list(prompt) if isinstance(prompt, tuple) else prompt
        prompt, kwargs = spread(prompt, rows_of(setting.rows, region, prompt, kwargs), kwargs, self.base)
        call = running_call(prompt, kwargs, encoded=encoded)
        restore = generator_states(kwargs.get("generator"))

        def run() -> Any:  # lists are its own, because some classes change them
            given = {name: _copied(value) for name, value in kwargs.items()}
            return called(self.base, _copied(prompt), *args, **given)

        with one_thread(self.base), state_kept(self.base), noticing(self.base, texts_in(prompt, kwargs)):
            with steer(self.base, setting.layers, dial, call) as sites, look_out(self.base) as outlook:
                result = run()
                call.refuse_nothing()
            if sites and outlook.lost:
                refuse_overflow(steer(self.base, setting.layers, dial, call.watched()), run, restore)
            if sites and outlook.why:
                raise LineaError(outlook.why)
            tell_unusable(outlook)
            if sites and region is not None and not placed:
                restore()
                return composed_output(result, run(), region)
        return result


def _copied(value: Any) -> Any:
    """A list as a list of its own; anything else as it is."""
    return list(value) if type(value) is list else value


def _from_pipe(kind: Any, base: Any, kwargs: Mapping[str, Any]) -> Any:
    """What diffusers' ``from_pipe`` makes, with the dtypes of the models as they are unless told otherwise."""
    if issubclass(kind, ModularPipeline):
        return modular_like(kind, base, kwargs)
    if not issubclass(kind, DiffusionPipeline) or {"dtype", "torch_dtype"} & kwargs.keys():
        return kind.from_pipe(base, **kwargs)
    models: list[Any] = [part for part in base.components.values() if isinstance(part, torch.nn.Module)]
    models = [model for model in models if hasattr(model, "dtype")]
    dtypes = [model.dtype for model in models]
    made = kind.from_pipe(base, **kwargs, dtype=dtypes[0] if len(set(dtypes)) == 1 else torch.float32)
    for model, dtype in zip(models, dtypes, strict=True):
        if model.dtype != dtype:  # they were not of one dtype, and float32 held all their numbers
            model.to(dtype)
    return made


def _is_plain(base: Any) -> bool:
    return is_pipeline(base) and not isinstance(base, LinEASDiffusionPipeline)


for _auto in (AutoPipelineForText2Image, AutoPipelineForImage2Image, AutoPipelineForInpainting):
    keep_adapters(_auto, LinEASDiffusionPipeline)
