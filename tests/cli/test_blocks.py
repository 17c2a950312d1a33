"""Blocks of options: a dataclass stands for the options of its fields, in its place and in their order."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Annotated

import typer
from typer.testing import CliRunner

from linea_diffusion.cli.options.blocks import blocks


@dataclass(frozen=True)
class Paint:
    """What to paint with."""

    color: Annotated[str, typer.Option(help="Of the paint.")] = "red"
    layer: Annotated[list[str], typer.Option()] = field(default_factory=list)


@dataclass(frozen=True)
class Oil(Paint):
    """Another default and another help for the same option, at the same place."""

    color: Annotated[str, typer.Option(help="Of the oil.")] = "umber"


SEEN: list[tuple[str, Paint, int]] = []


def wall(name: Annotated[str, typer.Argument()], *, paint: Paint, coats: int = 1) -> None:
    """Paint a wall."""
    SEEN.append((name, paint, coats))


def canvas(*, size: int = 3, paint: Oil) -> None:
    """Paint a canvas."""
    SEEN.append(("canvas", paint, size))


def call(command, *arguments):
    """The help, and what the command was called with."""
    app = typer.Typer()
    app.command()(blocks(command))
    SEEN.clear()
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return done.output, [*SEEN]


def test_options_make_the_block():
    assert call(wall, "north")[1] == [("north", Paint(), 1)]
    arguments = ("north", "--coats", "2", "--color", "blue", "--layer", "a", "--layer", "b")
    assert call(wall, *arguments)[1] == [("north", Paint("blue", ["a", "b"]), 2)]


def test_options_stand_where_the_block_does():
    assert list(inspect.signature(blocks(wall)).parameters) == ["name", "color", "layer", "coats"]
    assert list(inspect.signature(blocks(canvas)).parameters) == ["size", "color", "layer"]
    assert "Of the paint." in call(wall, "--help")[0]


def test_a_block_may_say_an_option_anew():
    assert call(canvas)[1] == [("canvas", Oil("umber"), 3)]
    text = call(canvas, "--help")[0]
    assert "Of the oil." in text
    assert "Of the paint." not in text
