"""Step caches of diffusers hold nothing over that was made under other steering.

A cache (``enable_cache``) lets layers give again in a step what they gave in an earlier one, steered as they were
steered then. So caches forget when a call begins and when it ends, however it ends, and within a call as soon as
maps do something else than before: in another part of the schedule, at another point of a curve.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ...errors import LineaError


class StepCaches:
    """The step caches of models, known by the hooks of diffusers that remember an earlier step.

    Args:
        models: components of a pipeline; what is no model is passed over.
    """

    def __init__(self, models: Iterable[Any]) -> None:
        found = [
            (model, registry)
            for model in models
            if isinstance(model, nn.Module)
            for module in model.modules()
            if (registry := vars(module).get("_diffusers_hook")) is not None
        ]
        kept = [(model, one) for model, one in found if any(hook._is_stateful for hook in one.hooks.values())]
        self.models = list(dict.fromkeys(model for model, _ in kept))
        self._registries = [registry for _, registry in kept]
        self._hooks = [hook for registry in self._registries for hook in registry.hooks.values()]

    def forget(self) -> None:
        """Nothing of earlier steps is left."""
        for registry in self._registries:
            registry.reset_stateful_hooks(recurse=False)

    def refuse_changes(self) -> None:
        """Raise if a cache cannot begin anew within a call, which steering that changes there would need.

        Raises:
            LineaError: FasterCache for models that have guidance built in: where it skips, it takes it for granted that
                it ran before.
        """
        if any(getattr(hook, "is_guidance_distilled", False) for hook in self._hooks):
            raise LineaError(
                "got FasterCache with is_guidance_distilled=True, which cannot begin anew within a call, and steering "
                "that changes there (steering_start, steering_end, a curve, maps by step): expected one strength for "
                "the whole call, or another cache; call disable_cache() on the model first"
            )


@contextmanager
def forgetting(pipe: Any) -> Iterator[StepCaches]:
    """Within the context the step caches of a pipeline begin anew, and so they do after it.

    Args:
        pipe: a diffusers pipeline.
    """
    caches = StepCaches(pipe.components.values())
    caches.forget()
    try:
        yield caches
    finally:
        caches.forget()
