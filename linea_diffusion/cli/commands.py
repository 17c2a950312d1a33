"""The commands of `linea`, each with its example."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from .. import __version__
from ..errors import LineaError
from . import (
    batching,
    calibrating,
    demo,
    evaluating,
    exporting,
    generating,
    grids,
    inspecting,
    pushing,
    scores,
    studio,
    training,
)
from .bench import command as benching
from .doctor import command as doctoring
from .options.blocks import blocks

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"linea-diffusion {__version__}")
        others = ((name, find_spec(name) and version(name)) for name in ("diffusers", "torch", "peft"))
        python = ".".join(map(str, sys.version_info[:3]))
        typer.echo(", ".join([f"{name} {one}" for name, one in others if one] + [f"Python {python}"]))
        raise typer.Exit


@app.callback()
def linea(
    _version: Annotated[
        bool, typer.Option("--version", help="This version and those below it.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Learn a style from words, then turn it from 0 to 1 on any diffusers text-to-image pipeline."""


_NAMES = {"import_lora": "import"}
"""Commands whose name is a word of Python."""
for _command, _example in (
    (demo.demo, "linea demo --style watercolor --out demo"),
    (
        training.train,
        "linea train neon --out neon\n\n"
        'linea train mine --source prompts.txt --template "{prompt}, in neon light" --out mine\n\n'
        "linea train friendly --task text --out friendly",
    ),
    (calibrating.calibrate, "linea calibrate neon"),
    (
        generating.generate,
        'linea generate "a red heart" --steering neon --strength 0.7 --out heart.png\n\n'
        'linea generate "a red heart" --steering neon --steering mosaic --strength neon=0.7,mosaic=0.3\n\n'
        'linea generate "yeah , the soup and the cake ." --steering friendly --strength 0,0.5,1',
    ),
    (
        grids.grid,
        'linea grid "a red heart" "a blue fish" --steering neon --concept neon --out grid\n\n'
        'linea grid "a red heart" --rows styles --steering neon --steering mosaic --animate styles.gif\n\n'
        'linea grid "a red heart" --steering neon --against mosaic --colorbar\n\n'
        'linea grid "a red heart" --rows methods --steering lineas=neon --steering lin-act=other --in-words',
    ),
    (
        scores.score,
        'linea score demo/grid.png --text "a picture in neon style"\n\n'
        'linea score steered/metadata.jsonl --text "a picture in neon style" --reference plain --out scores.csv',
    ),
    (batching.batch, f"linea batch jobs.jsonl --steering neon --strength 0:1:5 --out batch\n\n{batching.FIELDS_HELP}"),
    (evaluating.evaluate, "linea evaluate --style neon --methods lineas,lin-act,prompting --out evaluation"),
    (exporting.export, "linea export neon --for comfyui --preview 'a red heart'"),
    (exporting.import_lora, "linea import neon_comfyui.safetensors --out neon"),
    (pushing.push, "linea push neon you/neon --prompt 'a red heart'"),
    (studio.studio, "linea studio\n\nlinea studio --steering neon --steering mosaic"),
    (benching.bench, "linea bench --model random-sdxl --device cuda --dtype bfloat16 --batch-size 1 --out bench"),
    (doctoring.doctor, "linea doctor random-sdxl --memory 24 --dtype bfloat16"),
    (inspecting.concepts, "linea concepts neon\n\nlinea concepts --template > mine.toml"),
    (inspecting.modules, "linea modules shapeland-unet --modules norms"),
    (inspecting.info, "linea info demo/maps"),
):
    app.command(_NAMES.get(_command.__name__), epilog=f"Example: {_example}")(blocks(_command))


def refuse_empty_paths(arguments: Sequence[str]) -> None:
    """Raise if an option that names a file or folder is given an empty name, which would mean the folder one is in.

    Raises:
        LineaError: it is.
    """
    hints = [get_type_hints(command.callback) for command in app.registered_commands if command.callback]
    paths = {
        f"--{name.replace('_', '-')}" for one in hints for name, hint in one.items() if hint in (Path, Path | None)
    }
    for option, value in zip(arguments, [*arguments[1:], "-"], strict=True):
        if option.partition("=")[0] in paths and not (value if "=" not in option else option.partition("=")[2]).strip():
            raise LineaError(f"got {option.partition('=')[0]} with an empty name: expected a file or folder")
