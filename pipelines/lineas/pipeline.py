"""Steering for diffusers' ``custom_pipeline``: Stable Diffusion with ``load_steering`` and ``strength``.

    from diffusers import DiffusionPipeline
    pipe = DiffusionPipeline.from_pretrained(base, custom_pipeline="pipelines/lineas", trust_remote_code=True)
    pipe.load_steering("neon")
    image = pipe("a red heart", strength=0.7).images[0]

For pipelines of other classes wrap them: ``LinEASDiffusionPipeline(any_pipeline)``.
"""

from __future__ import annotations

from typing import Any

from diffusers import StableDiffusionPipeline

from linea_diffusion import LinEASDiffusionPipeline


class LinEASStableDiffusionPipeline(StableDiffusionPipeline):
    """A `StableDiffusionPipeline` whose call takes a ``strength``, see `LinEASDiffusionPipeline.__call__`."""

    def load_steering(self, source: Any, adapter_name: str = "default") -> None:
        """Load maps, see `LinEASDiffusionPipeline.load_steering`."""
        self._steered().load_steering(source, adapter_name)

    def unload_steering(self, adapter_name: str | None = None) -> None:
        """Remove one set of maps, or all of them."""
        self._steered().unload_steering(adapter_name)

    def __call__(self, prompt: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Generate, steered; the arguments are those of `LinEASDiffusionPipeline.__call__`."""
        return self._steered()(prompt, *args, **kwargs)

    def _steered(self) -> LinEASDiffusionPipeline:
        """A wrapper of the plain pipeline over this one's present components; the loaded maps stay."""
        plain = StableDiffusionPipeline.from_pipe(self)
        plain.set_progress_bar_config(**getattr(self, "_progress_bar_config", {}))
        wrapper = LinEASDiffusionPipeline(plain)
        wrapper.steering.update(getattr(self, "_steering", {}))
        self._steering = wrapper.steering
        return wrapper
