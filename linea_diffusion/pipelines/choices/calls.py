"""Whether a pipeline has a use for the arguments of calls: what it would pass over in silence is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import LineaError, short
from ..modular import accepts, parameters


def check_call(pipe: Any, arguments: Mapping[str, Any]) -> None:
    """Raise if a pipeline does not take an argument, or leaves a negative prompt out at the guidance that it has.

    Args:
        pipe: a `LinEASDiffusionPipeline`, or a diffusers pipeline.
        arguments: of its calls, by its own names.

    Raises:
        LineaError: so it is.
    """
    base = getattr(pipe, "base", pipe)
    for name, value in arguments.items():
        if not accepts(base, name):
            raise LineaError(
                f"got {name} {short(value)} for a {type(base).__name__}, which takes none: expected it left out"
            )
    if arguments.get("negative_prompt") is not None and not is_guided(pipe, arguments):
        name = _guidance_of(base)
        scale = setting(pipe, arguments, name)
        raise LineaError(
            f"got negative_prompt {short(arguments['negative_prompt'])} and {name} {scale}, at which a "
            f"{type(base).__name__} leaves it out: expected {name} above 1, such as "
            f"{'--guidance 5' if name == 'guidance_scale' else '--set true_cfg_scale=4 in linea batch'}"
        )


def setting(pipe: Any, arguments: Mapping[str, Any], name: str) -> Any:
    """What a call with these arguments has of one: given, the pipeline's own default, or its class's; None for none."""
    settings = {**getattr(pipe, "default_arguments", {}), **arguments}
    return settings.get(name, parameters(pipe).get(name))


def is_guided(pipe: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a call runs its denoiser for a negative prompt as well, be it an empty one."""
    base = getattr(pipe, "base", pipe)
    scale = setting(pipe, arguments, _guidance_of(base))
    return accepts(base, "negative_prompt") and isinstance(scale, int | float) and scale > 1


def _guidance_of(base: Any) -> str:
    return "true_cfg_scale" if accepts(base, "true_cfg_scale") else "guidance_scale"
