"""Following denoisers as they run, and the tensors that go through their modules, to know their layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from ...errors import LineaError
from .acted import runs_compiled
from .layout import Layout
from .scopes import Scope


@contextmanager
def follow_layout(
    models: Iterable[tuple[str, nn.Module]], layout: Layout, arguments: Callable[..., Any], scope: Scope
) -> Iterator[None]:
    """Within the context `layout` follows denoisers, in the calls that are a scope's own.

    Args:
        models: component name -> denoiser.
        layout: told what they and their modules are given.
        arguments: the arguments of a model, the sample first, of what a hook gets.
        scope: whose calls are followed.

    Raises:
        LineaError: a model that torch.compile made faster, whose modules tell nothing.
    """

    def begins(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if scope.acts():
            layout.meet_model(arguments(inputs, keywords), _patch_of(module))

    def given(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if scope.acts():
            for name, value in [*(("", value) for value in inputs), *keywords.items()]:
                layout.meet(value, name)

    def gives(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if scope.acts():
                for value in output if isinstance(output, tuple) else (output,):
                    layout.meet(value, path="" if isinstance(output, tuple) else path)

        return hook

    with ExitStack() as stack:
        for component, model in models:
            if any(map(runs_compiled, model.modules())):
                raise LineaError(
                    f"got a mask and a compiled {component!r}, whose activations do not say where they are in the "
                    "picture: expected the pipeline without torch.compile"
                )
            stack.enter_context(model.register_forward_pre_hook(begins, with_kwargs=True))
            for path, module in model.named_modules():
                if module is not model:
                    stack.enter_context(module.register_forward_pre_hook(given, with_kwargs=True))
                    stack.enter_context(module.register_forward_hook(gives(path)))
        yield


def _patch_of(model: nn.Module) -> int | None:
    """The width of a transformer's patches by its configuration; of several the first."""
    config = getattr(model, "config", {})
    patch = next((config[name] for name in ("patch_size", "all_patch_size") if config.get(name)), None)
    while isinstance(patch, list | tuple) and patch:
        patch = patch[-1]
    return patch if isinstance(patch, int) else None
