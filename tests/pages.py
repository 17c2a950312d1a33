"""What can be said of a page's code without running it: names, calls, commands and options are there."""

from __future__ import annotations

import argparse
import ast
import builtins
import importlib
import inspect
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import typer
from packaging.requirements import Requirement

from linea_diffusion import cli

ROOT = Path(__file__).parents[1]
_EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def commands_of(text: str) -> list[str]:
    """Every ``linea ...`` within a block: in scripts, between quotes, in YAML; variables are 1."""
    text = re.sub(r"\$\(\([^)]*\)\)|\$\w+|\$\{\w+\}", "1", text.replace("\\\n", " "))
    return [one.strip() for one in re.findall(r"(?:^|[\s'])(linea [a-z]+(?: [^'\n]*)?)", text)]


def check_command(line: str) -> None:
    """A command is read as it is by the command line's own parser, and its function takes what was read.

    Devices are the CPU: the parser refuses those that are not there.
    """
    line = re.sub(r"--device cuda\S*", "--device cpu", line.partition(" > ")[0])
    name, *arguments = shlex.split(line, comments=True)[1:]
    command = _commands()[name]
    with command.make_context(name, arguments) as context:
        inspect.signature(command.callback).bind(**context.params)


def check_options(line: str) -> None:
    """A command that a sentence names, maybe not whole: it is there, and so are its options."""
    name, *arguments = shlex.split(line)[1:]
    known = _options(_commands()[name])
    for argument in arguments:
        if argument.startswith("--"):
            assert argument.partition("=")[0] in known, f"`{line}`: {argument}"


def check_option(name: str) -> None:
    """An option that a sentence names by itself: some command has it."""
    assert any(name in _options(one) for one in _commands().values()), f"`{name}` is an option of no command"


def check_tool(line: str) -> None:
    """A command of pip, make, venv or the benchmarks: extra, target or benchmark are there."""
    tool, *rest = shlex.split(line)
    if tool == "pip":
        wanted = {extra for one in rest[1:] if one.startswith((".", "linea")) for extra in _extras(one)}
        assert wanted <= _EXTRAS.keys(), f"{line}: pyproject.toml has {sorted(_EXTRAS)}"
    elif tool == "make":
        assert f"\n{rest[0]}:" in (ROOT / "Makefile").read_text(), line
    elif rest[:2] == ["-m", "venv"]:
        assert rest[2:] == ["env", "&&", ".", "env/bin/activate"], line
    elif rest[:2] == ["-m", "benchmarks"]:
        parser = argparse.ArgumentParser()
        importlib.import_module(f"benchmarks.{rest[2]}").add_options(parser)
        parser.parse_args(rest[3:])
    else:
        raise AssertionError(f"{line}: say with <!-- not run: ... --> before the block why it cannot run")


def check_script(code: str) -> None:
    """A shell can read it, and every command of ours in it is as it is."""
    done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in commands_of(code):
        check_command(line)


def check_python(code: str, known: set[str]) -> None:
    """What is imported is there, every name was given before, and calls of imported names fit their signatures.

    The names that the code gives are added to those that are known.
    """
    tree = ast.parse(code)
    imported: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {(one.asname or one.name): importlib.import_module(one.name) for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            imported |= {(one.asname or one.name): getattr(module, one.name) for one in node.names}
    known |= imported.keys() | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    known |= {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    missing = {node.id for node in names} - known - set(dir(builtins))
    assert not missing, f"{sorted(missing)} are not on the page"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in imported:
            words = {one.arg: None for one in node.keywords if one.arg}
            inspect.signature(imported[node.func.id]).bind(*node.args, **words)


def _commands() -> dict[str, Any]:
    return typer.main.get_command(cli.app).commands


def _options(command: Any) -> set[str]:
    return {"--help"} | {name for one in command.params for name in (*one.opts, *one.secondary_opts)}


def _extras(argument: str) -> set[str]:
    """The extras of ``.[lora]`` or ``linea-diffusion[lora]``."""
    return Requirement(argument.replace(".", "linea-diffusion", 1) if argument.startswith(".") else argument).extras
