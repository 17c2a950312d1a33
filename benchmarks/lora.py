"""What LoRA files of maps lose in each program, by the form of the maps: share of the effect on latents at strength 1.

python -m benchmarks lora --methods lineas "lineas,scale=False,shift=False,rank=8"   # with the maps of `learn`
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from linea_diffusion import SteeringMaps
from linea_diffusion.maps.lora.names import family_of
from linea_diffusion.maps.lora.programs import PROGRAMS

from .workbench import FIRST, add_shared, line, opened, results_of, table, write

ALL = 1e9


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, model=FIRST, styles=["neon", "watercolor", "mosaic"], threads=1)
    parser.add_argument("--methods", nargs="+", default=["lineas"])
    parser.add_argument("--maps", default="runs/maps/{model}/{method}/{style}-0")


def main(options: argparse.Namespace) -> None:
    pipe, rows = opened(options.model), []
    programs = [one for one in PROGRAMS.values() if family_of(pipe.base) in one.families]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "x.safetensors"
        for method in options.methods:
            for style in options.styles:
                place = options.maps.format(model=options.model, method=method, style=style.replace(" ", "-"))
                maps = SteeringMaps.from_pretrained(place)
                reports = [maps.save_lora(file, pipe, one.name, largest_loss=ALL) for one in programs]
                nearly = [
                    maps.save_lora(file, pipe, one.name, largest_loss=ALL, approximate_bias=True).loss
                    for one in programs
                    if not one.bias
                ][:1]
                losses = [f"{report.loss:.4f}" for report in reports] + [f"{loss:.4f}" for loss in nearly]
                rows.append([method, style, f"{reports[0].size / 1e6:.2f}", *losses])
                print(line(rows[-1]), flush=True)
    about = (
        f"`{options.model}`, training seed 0, matrices in half precision: 0 loses nothing, 1 as much as there is; four "
        "steps, one prompt. Last: a program that drops biases, with `--approximate-bias`."
    )
    extra = ["nearly"] if any(not one.bias for one in programs) else []
    head = ("maps", "style", "MB", *(one.title for one in programs), *extra)
    write(results_of(options.model, "lora.md"), "What LoRA files lose", about, table(head, rows))
