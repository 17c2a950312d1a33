"""The class of a steered pipeline: one for each class of diffusers, whose parameters it shows beside ours."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from types import FunctionType
from typing import Any

_ROOT = "_linea_root"
"""Attribute of a class that was made here: the class that it was made from."""

_BASE = "_linea_base"
"""Likewise: the class of the pipelines that its instances wrap."""


def class_over(wrapper: type, base: type) -> type:
    """The subclass of `wrapper` for pipelines of the class `base`, always the same one for the same two.

    Its ``__call__`` has the signature of the base pipeline's, with the keywords of our own behind it, because
    diffusers, type hints and notebooks look there for what a pipeline accepts.

    Args:
        wrapper: `LinEASDiffusionPipeline` or a subclass; a class that was made here stands for what it was made from.
        base: a class of diffusers.
    """
    return _made(root_of(wrapper), base)


def root_of(kind: type) -> Any:
    """What a class that `class_over` made was made from; any other class itself."""
    return vars(kind).get(_ROOT, kind)


@functools.cache
def _made(root: Any, base: Any) -> type:
    __call__ = _same_code(root.__call__)
    __call__.__qualname__ = f"LinEAS{base.__name__}.__call__"
    vars(__call__)["__signature__"] = joint_signature(root, base)
    names = {_ROOT: root, _BASE: base, "__call__": __call__, "__doc__": root.__doc__, "__module__": root.__module__}
    return _Kind(f"LinEAS{base.__name__}", (root,), names)


def _same_code(function: FunctionType) -> FunctionType:
    """A function of the same code, for another signature: a call goes through it once."""
    code, names, defaults = function.__code__, function.__globals__, function.__defaults__
    same = FunctionType(code, names, function.__name__, defaults, function.__closure__)
    same.__kwdefaults__, same.__doc__ = function.__kwdefaults__, function.__doc__
    return same


class _Kind(type):
    """The class of these classes: what they do not have, such as ``_optional_components``, is the base class's."""

    def __getattr__(cls, name: str) -> Any:
        return getattr(inspect.getattr_static(cls, _BASE), name)


def joint_signature(wrapper: Any, base: Any) -> inspect.Signature:
    """The base pipeline's parameters with our keywords among them.

    Where both have a name (``strength``), it is ours, by keyword, and so are all that follow it in the base's.
    """
    ours = [one for one in inspect.signature(wrapper.__call__).parameters.values() if one.kind is _KEYWORD]
    named = {one.name for one in ours}
    places: dict[Any, list[inspect.Parameter]] = {kind: [] for kind in _KINDS}
    theirs = list(inspect.signature(base.__call__).parameters.values())
    behind = False
    if "state" in {one.name for one in theirs}:  # a modular pipeline's, whose blocks know what it takes, by name
        own = inspect.signature(wrapper.__call__).parameters
        places[_EITHER] = [theirs.pop(0), own["prompt"]]
        behind = True
    for one in theirs:
        behind |= one.name in named
        kind = _KEYWORD if behind and one.kind is _EITHER else one.kind
        if one.name not in named:
            places[kind].append(one.replace(kind=kind))
    places[_KEYWORD] += ours
    return inspect.Signature([one for kind in _KINDS for one in places[kind]])


_EITHER, _KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
_KINDS = (
    inspect.Parameter.POSITIONAL_ONLY, _EITHER, inspect.Parameter.VAR_POSITIONAL, _KEYWORD,
    inspect.Parameter.VAR_KEYWORD,
)  # fmt: skip
"""In the order in which a signature has them."""


def tell_adapters_left(adapters: list[str]) -> None:
    """Warn if the caller's caller is a ``from_pipe`` of diffusers, which makes a plain pipeline.

    Args:
        adapters: those that it leaves behind.
    """
    caller = sys._getframe(2)
    module = caller.f_globals.get("__name__", "")
    if adapters and caller.f_code.co_name == "from_pipe" and module.startswith("diffusers."):
        made = getattr(caller.f_locals.get("cls"), "__name__", "StableDiffusionImg2ImgPipeline")
        warnings.warn(
            f"{made}.from_pipe makes a plain pipeline, without the steering {', '.join(adapters)}: to keep it, use "
            f"LinEASDiffusionPipeline.from_pipe(pipe, {made})",
            stacklevel=4,
        )


def keep_adapters(auto: Any, wrapper: Any) -> None:
    """Let an ``AutoPipelineFor...`` of diffusers make a steered pipeline of a steered one; else it does what it did.

    diffusers chooses the class itself and has no place for somebody else's, so that this is the one method of its
    that is changed.

    Args:
        auto: the class.
        wrapper: `LinEASDiffusionPipeline`.
    """
    plain = auto.from_pipe.__func__

    @functools.wraps(plain)
    def from_pipe(cls: Any, pipeline: Any, **kwargs: Any) -> Any:
        if isinstance(pipeline, wrapper):
            return root_of(type(pipeline)).from_pipe(pipeline, cls, **kwargs)
        return plain(cls, pipeline, **kwargs)

    auto.from_pipe = classmethod(from_pipe)
