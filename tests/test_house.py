"""The house: rooms, which way imports run, and who may name what; docs/architecture.md shows what holds."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from linea_diffusion.steering.affine.affine_map import PARTS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "linea_diffusion"
RULE = next(
    one
    for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    if one["name"].startswith("Rooms")
)
FLOORS = [[room.strip() for room in floor.split("|")] for floor in RULE["layers"]]
FILES = ("errors", "progress")
"""What every room may import."""
ROOMS = sorted(room for floor in FLOORS for room in floor if room not in FILES)


def test_the_root_has_rooms_and_little_else():
    entries = {one.name for one in PACKAGE.iterdir() if one.name != "__pycache__"}
    assert entries == {*ROOMS, "__init__.py", "__init__.pyi", *(f"{file}.py" for file in FILES), "py.typed"}
    assert len(ROOMS) <= 12
    assert len(FLOORS) <= 7, "six floors above the ground"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_is_in_it_and_what_it_imports(room):
    said = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
    assert said is not None
    assert "Imports " in said


def test_the_page_shows_the_floors_of_the_contract():
    """docs/architecture.md holds the picture that the contract makes."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert picture() in page, f"docs/architecture.md: expected\n{picture()}"


def test_files_that_the_page_names_exist():
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", page)
    assert named
    lost = [name for name in named if not any((at / name).exists() for at in (PACKAGE, PACKAGE / "shapeland", ROOT))]
    assert not lost


def picture() -> str:
    """The floors, top down, each room with the first words of its docstring."""
    lines = []
    for floor in FLOORS:
        for number, room in enumerate(floor):
            file = PACKAGE / f"{room}.py" if room in FILES else PACKAGE / room / "__init__.py"
            first = (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n", 1)[0]
            lines.append(f"{'-' if number == 0 else ' '} {room + '/' * (room not in FILES):12}{first}")
    return "\n".join(lines)


def test_nobody_else_names_the_parts_of_a_map():
    """Its numbers have one door, `AffineMap.tensors`; files of maps are packed by name."""
    allowed = {PACKAGE / "maps" / "packing.py", PACKAGE / "maps" / "unpacking.py"}
    spelled = {
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in PACKAGE.rglob("*.py")
        if file not in allowed and (PACKAGE / "steering" / "affine") not in file.parents
        for node in _names(ast.parse(file.read_text()))
    }
    assert not spelled


def _names(tree: ast.AST) -> Iterator[ast.expr]:
    """Where a part of a map is read as an attribute, or spelled as a text."""
    names = set(PARTS) - {"shift"}  # which is also a setting of training, and a word
    for node in ast.walk(tree):
        if (isinstance(node, ast.Attribute) and node.attr in names) or (
            isinstance(node, ast.Constant) and node.value in names - {"up", "down"}
        ):
            yield node


def test_training_knows_a_model_by_its_run_alone():
    """Whoever says `pipe` makes the `Run`, is it, renders pictures, or chooses a recipe."""
    allowed = {"diffusion.py", "language.py", "prompts_read.py", "recipes.py", "calibration", "effort.py", "preview.py"}
    room = PACKAGE / "training"
    files = [file for file in room.rglob("*.py") if file.relative_to(room).parts[0] not in allowed]
    found = {f"{file.name}: {node.name}" for file in files for node in ast.walk(_tree(file)) if _takes_pipe(node)}
    assert found == {"train.py: train_steering_maps"}
    imported = {node.module for file in files for node in ast.walk(_tree(file)) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name and name.startswith("pipelines")]


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _takes_pipe(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(one.arg == "pipe" for one in node.args.args + node.args.kwonlyargs)


def test_only_facts_know_what_maps_say_of_themselves():
    """`SteeringMaps.metadata` is the users' dict; the house asks `Facts`."""
    spelled = {
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(_tree(file))
        if (isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and _is_metadata(node.value))
        or (isinstance(node, ast.Attribute) and node.attr in ("get", "setdefault", "pop") and _is_metadata(node.value))
    }
    assert not spelled


def _is_metadata(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "metadata"


if __name__ == "__main__":
    print(picture())
