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
ROOMS = sorted(room for floor in FLOORS for room in floor if room != "errors")


def test_the_root_has_rooms_and_little_else():
    entries = {one.name for one in PACKAGE.iterdir() if one.name != "__pycache__"}
    assert entries == {*ROOMS, "__init__.py", "__init__.pyi", "errors.py", "py.typed"}
    assert len(ROOMS) <= 11
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
            file = PACKAGE / "errors.py" if room == "errors" else PACKAGE / room / "__init__.py"
            first = (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n", 1)[0]
            lines.append(f"{'-' if number == 0 else ' '} {room + '/' * (room != 'errors'):12}{first}")
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


if __name__ == "__main__":
    print(picture())
