"""Another scheduler for a pipeline, by diffusers' name or a short one, where the two fit."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
from diffusers import SchedulerMixin

from ...errors import LineaError, nearest_hint, reason, short

SHORT_NAMES = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "deis": "DEISMultistepScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "flow-euler": "FlowMatchEulerDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "lcm": "LCMScheduler",
    "lms": "LMSDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""What people call schedulers -> diffusers' classes."""
_DISTILLED = ("LCMScheduler", "TCDScheduler")
"""Those of distilled models and their LoRAs, which no list of compatible ones has."""


def scheduler_class(name: str) -> Any:
    """The class of a scheduler.

    Args:
        name: a class of diffusers, or one of `SHORT_NAMES`.

    Raises:
        LineaError: there is none of this name.
    """
    known = _schedulers()
    if (kind := known.get(SHORT_NAMES.get(name.lower(), name))) is None:
        raise LineaError(
            f"got scheduler {short(name)}: expected one of {', '.join(SHORT_NAMES)}, or a class of diffusers"
            f"{nearest_hint(name[:100], [*SHORT_NAMES, *known])}"
        )
    return kind


def _schedulers() -> dict[str, Any]:
    """Name -> class of what diffusers has here; those whose libraries are missing it has by name only."""
    classes = {name: getattr(diffusers, name) for name in dir(diffusers) if name.endswith("Scheduler")}
    return {name: kind for name, kind in classes.items() if issubclass(kind, SchedulerMixin)}


def use_scheduler(pipe: Any, name: str) -> None:
    """Put a scheduler in the place of a pipeline's own, with its settings.

    Args:
        pipe: a diffusers pipeline.
        name: as for `scheduler_class`.

    Raises:
        LineaError: an unknown one, one that does not step as the pipeline's does, or one that cannot be made.
    """
    kind, now = scheduler_class(name), pipe.scheduler
    fitting = _flow_settings(kind, now) if _flows(now) else {} if _steps_alike(kind, type(now)) else None
    if fitting is None:
        others = ", ".join(one for one, kind in _schedulers().items() if _fits(kind, now))
        raise LineaError(
            f"got scheduler {name} for a {type(pipe).__name__} that runs with {type(now).__name__}, which steps in "
            f"another way: expected one of {others}"
        )
    try:
        pipe.scheduler = kind.from_config(now.config, **fitting)
    except (ValueError, NotImplementedError) as error:
        raise LineaError(
            f"got scheduler {name}, which cannot be made here ({reason(error)}): expected another one"
        ) from None


def _fits(kind: Any, now: Any) -> bool:
    return _flow_settings(kind, now) is not None if _flows(now) else _steps_alike(kind, type(now))


def _steps_alike(kind: Any, now: Any) -> bool:
    """Whether diffusers lists one of two classes as compatible with the other."""
    pairs = ((kind, now), (now, kind))
    listed = kind.__name__ in _DISTILLED and "DDIMScheduler" in map(str, getattr(now, "_compatibles", ()))
    listed = listed or any(a.__name__ in map(str, getattr(b, "_compatibles", ())) for a, b in pairs)
    return kind is now or (listed and not kind.__name__.startswith("FlowMatch"))


def _flows(scheduler: Any) -> bool:
    """Whether a model behind a scheduler predicts the velocity of a straight flow."""
    flow = scheduler.config.get("prediction_type") == "flow_prediction"
    return flow or type(scheduler).__name__.startswith("FlowMatch")


def _flow_settings(kind: Any, now: Any) -> dict[str, Any] | None:
    """What makes a class step along such a flow as the present scheduler does; None if nothing does.

    Pipelines whose scheduler takes sigmas may give it some, and want that of another.
    """
    taken = inspect.signature(kind.set_timesteps).parameters
    if "sigmas" in inspect.signature(type(now).set_timesteps).parameters and "sigmas" not in taken:
        return None
    shift = now.config.get("shift", now.config.get("flow_shift", 1.0))
    if kind.__name__.startswith("FlowMatch"):
        # others of their pipelines ask for the size of their noise, which these do not tell
        return {"shift": shift} if type(now).__name__.startswith("FlowMatch") else None
    if "use_flow_sigmas" not in inspect.signature(kind.__init__).parameters:
        return None
    return {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift}
