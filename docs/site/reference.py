"""Pages of the site that are made of the code: Python names, commands, fields of jobs, errors, tables of figures."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

import linea_diffusion
from linea_diffusion import cli
from linea_diffusion.batch.jobs.field_names import FIELDS
from linea_diffusion.steering.preset_names import PRESET_MEANINGS

AREAS = {
    "Pipelines": ("LinEASDiffusionPipeline",),
    "Maps": ("SteeringMaps", "AffineMap"),
    "Concepts": ("Concept", "Level", "load_concept", "list_concepts"),
    "Training": (
        "train_steering_maps", "TrainingConfig", "TrainingState", "recipe_for", "paper_recipe", "calibrate",
        "find_modules",
    ),
    "Pictures": ("StyleGrid", "explore", "generate_batch", "render_samples"),
    "Judging": ("ClipScorer", "evaluate", "linear_act", "gaussian_act", "mean_shift"),
    "Reports": ("grid_page", "evaluation_page", "write_report"),
}  # fmt: skip
"""Area -> its names; what is in none comes last."""


def write(folder: Path, root: Path) -> None:
    """All of them, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pages = {"python": python_page(), "commands": commands_page(), "jobs": jobs_page(), "errors": errors_page(root)}
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    shutil.copytree(root / "benchmarks" / "results", folder / "results")
    tables = sorted((folder / "results").glob("*.md"))
    toctree = "\n".join(["```{toctree}", ":maxdepth: 1", "", *(one.stem for one in tables), "```"])
    intro = "Every table has the command that made it, date, machine and seeds; negative results are among them."
    (folder / "results" / "index.md").write_text(f"# Tables of figures\n\n{intro}\n\n{toctree}\n", encoding="utf-8")


def python_page() -> str:
    """The public names with their docstrings."""
    placed = {name for names in AREAS.values() for name in names}
    others = tuple(name for name in linea_diffusion.__all__ if name not in placed and not name.startswith("_"))
    lines = [
        "# Python",
        "",
        "All of these are names of `linea_diffusion`, which imports what is heavy when it is used.",
        "",
    ]
    for area, names in {**AREAS, "More": others}.items():
        lines += [f"## {area}", ""]
        for name in names:
            thing = getattr(linea_diffusion, name)
            kind = "autoclass" if inspect.isclass(thing) else "autofunction" if callable(thing) else "autodata"
            lines += ["```{eval-rst}", f".. {kind}:: linea_diffusion.{name}", "```", ""]
    return "\n".join(lines)


def commands_page() -> str:
    """Every command with its options, as `linea COMMAND --help` has them."""
    group: Any = typer.main.get_command(cli.app)
    lines = ["# Commands", "", "Every command takes `--help`.", ""]
    for name, command in group.commands.items():
        lines += [f"## linea {name}", "", _plain(command.help or ""), ""]
        example = inspect.cleandoc((command.epilog or "").partition("\n\nFields of a job")[0].removeprefix("Example: "))
        lines += ["```", *(one for one in example.splitlines() if one), "```", ""]
        rows = [_option(one) for one in command.params if not getattr(one, "hidden", False)]
        lines += ["| option | what it says | default |", "| --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def _option(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    names = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.name.upper()]
    default = parameter.default
    shown = "" if default is None or default is False or default in ((), []) or callable(default) else f"`{default}`"
    cells = [" ".join(f"`{one}`" for one in names), _cell(getattr(parameter, "help", "") or ""), _cell(shown)]
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    return "\n\n".join(inspect.cleandoc(part) for part in text.replace("\b", "").split("\f")[0].split("\n\n"))


def jobs_page() -> str:
    """The fields of a job, and the presets of modules."""
    lines = [
        "# Jobs and presets", "",
        "A job is a line of a `.jsonl` file, a row of a `.csv`, or a dict for `generate_batch`. Arguments of the base "
        "pipeline are fields too; what is neither is carried into the metadata as `meta.NAME`.", "",
        "| field | what it may hold |", "| --- | --- |",
        *(f"| `{name}` | {_cell(what)} |" for name, what in FIELDS.items()),
        "", "## Presets of `--modules` and `target_modules`", "", "| preset | what it is |", "| --- | --- |",
        *(f"| `{name}` | {_cell(meaning)} |" for name, meaning in PRESET_MEANINGS.items()), "",
    ]  # fmt: skip
    return "\n".join(lines)


def errors_page(root: Path) -> str:
    """Every sentence that a `LineaError` can say, in its three parts, by the room that says it."""
    package = root / "linea_diffusion"
    lines = [
        "# Errors", "",
        "What a user can cause and mend is a `LineaError` (on the command line one line and exit code 2): what was "
        "got, what was expected, and what to do; where that is left out, give what is expected. Words in braces stand "
        "for what the case has. Search this page for some words of your line that are in no quotes.", "",
    ]  # fmt: skip
    rooms: dict[str, dict[str, None]] = {}
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        for sentence in _sentences(ast.parse(path.read_text(encoding="utf-8"))):
            rooms.setdefault(room, {})[sentence] = None
    for room, sentences in rooms.items():
        lines += [f"## {room}", "", "| got | expected | what to do |", "| --- | --- | --- |"]
        lines += [f"| {' | '.join(map(_cell, _parts(one)))} |" for one in sorted(sentences)]
        lines.append("")
    return "\n".join(lines)


def _sentences(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error") and node.args:
            text = _text(node.args[0])
            if text is not None and ("expected" in text or (text.startswith("got ") and ": " in text)):
                yield text


def _text(node: ast.expr) -> str | None:
    """A text of the code, what is filled in by its name in the code."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            _hole(one.value) if isinstance(one, ast.FormattedValue) else str(getattr(one, "value", ""))
            for one in node.values
        )
    if isinstance(node, ast.BinOp):
        parts = [_text(node.left), _text(node.right)]
        return "".join(part or "{...}" for part in parts) if any(parts) else None
    return None


_SAID = {"error": "reason", "expected": "...", "__name__": "class", "stem": "name", "self": "..."}
"""Names of the code that tell a reader nothing, and what they mean."""


def _hole(node: ast.expr) -> str:
    """What is filled in at a place of a text, by its name: ``{name}``, or ``{...}`` where it has none."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return f"{{{_SAID.get(name, name.strip('_').lower().replace('_', ' '))}}}"
        case ast.Call(func=ast.Name(id="len"), args=[thing]):
            return _hole(thing).replace("{", "{number of ")
        case ast.Call(func=ast.Name(id="map"), args=[_, thing]) | ast.Call(args=[thing, *_]):
            return _hole(thing)
        case ast.Subscript(value=thing):
            return _hole(thing)
    return "{...}"


def _parts(sentence: str) -> Sequence[str]:
    """What was got, what is expected, what to do; without the hints at a nearest name that some end with."""
    sentence = re.sub(r"(?<=\w)\{[^{}]*\}(?=$|;)", "", sentence)
    got, found, rest = sentence.partition("expected")
    if not found:
        got, _, todo = sentence.partition(": ")
        return (got.removeprefix("got "), "", todo)
    expected, _, todo = rest.partition(";")
    return (got.removeprefix("got ").rstrip(" :,("), expected.strip(), todo.strip())


def _cell(text: str) -> str:
    """A text as a cell of a table, with what Markdown would read set apart."""
    text = " ".join(text.split()).replace("|", "\\|")
    return re.sub(r"(?<!`)([<>*_\[\]{}])", r"\\\1", text) if "`" not in text else text
