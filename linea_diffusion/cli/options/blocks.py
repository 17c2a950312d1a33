"""Dataclasses as blocks of options, so that what several commands ask for is written, and used, in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def blocks(command: Callable[..., None]) -> Callable[..., None]:
    """A command in which every parameter that is a dataclass stands for the options of its fields, in their order."""
    signature = inspect.signature(command, eval_str=True)
    classes: dict[str, Any] = {
        name: one.annotation for name, one in signature.parameters.items() if is_dataclass(one.annotation)
    }
    parameters = [
        option
        for name, one in signature.parameters.items()
        for option in (_options(classes[name]) if name in classes else [one])
    ]

    @wraps(command)
    def flat(**values: Any) -> None:
        made = {
            name: block(**{one.name: values.pop(one.name) for one in fields(block)}) for name, block in classes.items()
        }
        command(**made, **values)

    options = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    flat.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    flat.__annotations__ = {one.name: one.annotation for one in options}
    return flat


def _options(block: Any) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters of a function."""
    hints, kind = get_type_hints(block, include_extras=True), inspect.Parameter.KEYWORD_ONLY
    defaults = {
        one.name: one.default if one.default_factory is MISSING else one.default_factory() for one in fields(block)
    }
    return [
        inspect.Parameter(name, kind, default=default, annotation=hints[name]) for name, default in defaults.items()
    ]
