"""What to type next: a few lines on standard error when a command is done."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer


def say_next(**steps: str) -> None:
    """Name commands by what they are for; empty ones are left out."""
    for purpose, command in steps.items():
        if command:
            typer.echo(f"to {purpose.replace('_', ' ')}: {command}", err=True)


def quoted(text: str | Path) -> str:
    """A text or path as a shell takes it."""
    return shlex.quote(str(text))
