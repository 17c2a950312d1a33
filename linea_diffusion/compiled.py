"""Steering models that torch.compile made faster.

Compiled code holds the hooks that were there when it was made, and by default nothing checks whether they still are.
With that check on, code is made once with steering and once without, and chosen by itself; what a strength changes are
tensors, so no other strength needs code of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from torch import nn

from .errors import LineaError
from .sites import Site


def guard_hooks() -> None:
    """Let code that torch.compile makes from now on check the hooks of its modules."""
    from torch._dynamo import config

    config.skip_nnmodule_hook_guards = False


def refuse_stale_code(pipe: Any, sites: Sequence[Site]) -> None:
    """Raise if compiled code ran that knows of no steering.

    Raises:
        LineaError: a steered component ran none of its hooks.
    """
    if "torch._dynamo" not in sys.modules:
        return
    for component in {site.component for site in sites}:
        acted = any(site.acted for site in sites if site.component == component)
        if not acted and is_compiled(pipe.components[component]):
            raise LineaError(
                f"got a compiled {component!r} whose code was made before steering was there, so that nothing was "
                "steered: expected the pipeline to be wrapped in LinEASDiffusionPipeline before its first compiled "
                "call; call torch.compiler.reset() now and render again"
            )


def is_compiled(model: nn.Module) -> bool:
    """Whether torch.compile made a model, or some module within it, faster."""
    return any(
        vars(module).get("_compiled_call_impl") is not None or type(module).__name__ == "OptimizedModule"
        for module in model.modules()
    )
