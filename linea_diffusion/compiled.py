"""Steering models that torch.compile made faster.

Compiled code holds the hooks that were there when it was made, and by default nothing checks whether they still are.
With that check on, code is made once with steering and once without, and chosen by itself; what a strength changes are
tensors, so no other strength needs code of its own.
"""

from __future__ import annotations

from torch import nn

from .errors import LineaError


def guard_hooks() -> None:
    """Let code that torch.compile makes from now on check the hooks of its modules."""
    from torch._dynamo import config

    config.skip_nnmodule_hook_guards = False


def runs_compiled(module: nn.Module) -> bool:
    """Whether torch.compile made this very module faster, as a module around it or in place."""
    return vars(module).get("_compiled_call_impl") is not None or type(module).__name__ == "OptimizedModule"


def stale_code(component: str, passed: str) -> LineaError:
    """The error for compiled code that calls no hooks, with what it passed by."""
    return LineaError(
        f"got a compiled {component!r} whose code was made before steering was there, so that {passed}: expected the "
        "pipeline to be wrapped in LinEASDiffusionPipeline before its first compiled call; call torch.compiler.reset() "
        "now and render again; what never runs in this model anyway is left out by maps.subset"
    )
