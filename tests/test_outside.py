"""The outside of the house: what people's code, shell histories and files rely on, listed, so that rooms may move.

A deliberate change is listed anew with ``python -m tests.test_outside``; its diff is then read like any other.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import typer

import linea_diffusion
from linea_diffusion.cli import app

LIST = Path(__file__).parent / "outside.json"


def test_names_parameters_and_options_are_as_listed():
    listed = json.loads(LIST.read_text())
    now = outside()
    assert now["python"] == listed["python"]
    assert now["commands"] == listed["commands"]


def outside() -> dict[str, Any]:
    """Public names -> their parameters and members; commands -> their arguments and options."""
    return {
        "python": {name: _members(getattr(linea_diffusion, name)) for name in linea_diffusion.__all__},
        "commands": {
            name: ["/".join([*one.opts, *one.secondary_opts]) for one in command.params]
            for name, command in typer.main.get_group(app).commands.items()
        },
    }


def _members(value: Any) -> Any:
    if inspect.isclass(value):
        own = {name: member for name, member in inspect.getmembers(value) if _is_ours(value, name, member)}
        return {"()": _parameters(value), **{name: _parameters(member) for name, member in sorted(own.items())}}
    return _parameters(value)


def _is_ours(owner: type, name: str, member: Any) -> bool:
    """Public, and defined in a class of this package."""
    home = next((cls for cls in owner.__mro__ if name in vars(cls)), object)
    return not name.startswith("_") and home.__module__.startswith("linea_diffusion")


def _parameters(value: Any) -> list[str] | str:
    if not callable(value) or (inspect.isclass(value) and issubclass(value, Exception)):
        return "value"
    return [str(one).split(":")[0].split("=")[0].strip() for one in inspect.signature(value).parameters.values()]


if __name__ == "__main__":
    LIST.write_text(json.dumps(outside(), indent=1) + "\n")
