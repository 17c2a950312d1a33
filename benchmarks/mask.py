"""Steering in a part of the picture: how much of the style arrives inside of a mask, and what changes outside.

python -m benchmarks mask --model shapeland-dit   # with the maps of `learn`
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image

from linea_diffusion import SteeringMaps
from linea_diffusion.pipelines.rendering.render import render_prompts
from linea_diffusion.shapeland.truth import held_out_prompts
from linea_diffusion.steering.addresses import Address
from linea_diffusion.steering.parsing import MASKINGS

from .workbench import FIRST, add_shared, line, opened, results_of, table, write

SEEDS = range(1000, 1032)
SIZE = 64
_ROWS, _COLUMNS = np.mgrid[:SIZE, :SIZE]
MASKS: Mapping[str, np.ndarray] = {
    "left half": (_COLUMNS < SIZE / 2).astype(np.float32),
    "disc": (np.hypot(_ROWS - SIZE / 2 + 0.5, _COLUMNS - SIZE / 2 + 0.5) < SIZE / 4).astype(np.float32),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, model=FIRST, styles=["neon", "watercolor", "mosaic"], prompts=32, threads=1)
    parser.add_argument("--maps", default="runs/maps/{model}/lineas/{style}-{seed}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of trainings")


def main(options: argparse.Namespace) -> None:
    pipe, prompts = opened(options.model), held_out_prompts(options.prompts)
    found: dict[tuple[str, ...], list[tuple[float, float, float]]] = {}
    for style in options.styles:
        for seed in options.seeds:
            place = options.maps.format(model=options.model, style=style.replace(" ", "-"), seed=seed)
            whole = SteeringMaps.from_pretrained(place)
            for which, maps in {"all": whole, "denoiser's": _of_denoiser(whole)}.items():
                for key, figures in _figures(pipe, maps, prompts).items():
                    found.setdefault((style, which, *key), []).append(figures)
    rows = [[*key, *(f"{mean(column):.3f}" for column in zip(*figures, strict=True))] for key, figures in found.items()]
    for row in rows:
        print(line(row), flush=True)
    about = (
        f"`{options.model}`; maps of the default recipe at strength 1, training seeds "
        f"{', '.join(map(str, options.seeds))}, {len(prompts)} held-out prompts, one noise each. Arrived: the share of "
        "the unmasked run's change of pixels that is there (its least-squares factor), inside of the mask. Other: mean "
        "absolute difference from the unmasked run inside; outside: mean absolute change outside; both over the mean "
        "absolute change of the unmasked run at the same places."
    )
    head = ("style", "maps", "mask", "masking", "arrived", "other", "outside")
    write(results_of(options.model, "mask.md"), "A part of the picture", about, table(head, rows))


def _of_denoiser(maps: SteeringMaps) -> SteeringMaps:
    """The maps that are in no text encoder."""
    components = {Address.of(name).component for name, _ in maps.named_maps() if Address.of(name).in_denoiser}
    return maps.subset(*components)


def _figures(pipe: Any, maps: SteeringMaps, prompts: list[str]) -> dict[tuple[str, str], tuple[float, float, float]]:
    """(Mask, masking) -> what arrived, what is other inside, and what changed outside."""
    pipe.unload_steering()
    pipe.load_steering(maps, "maps")

    def pictures(**arguments: Any) -> np.ndarray:
        images = render_prompts(pipe, prompts, SEEDS[: len(prompts)], calibrated=False, **arguments)
        return np.stack([np.asarray(image, np.float32) / 255 for image in images])

    plain, full = pictures(strength=0.0), pictures(strength=1.0)
    change, figures = full - plain, {}
    for name, mask in MASKS.items():
        inside, outside = mask > 0, mask == 0
        for masking in MASKINGS:
            masked = pictures(strength=1.0, mask=Image.fromarray((mask * 255).astype(np.uint8)), masking=masking)
            moved, left = masked - plain, np.abs(masked - full)
            arrived = float((moved * change)[:, inside].sum() / (change**2)[:, inside].sum())
            other = float(left[:, inside].mean() / np.abs(change)[:, inside].mean())
            figures[name, masking] = (
                arrived, other, float(np.abs(moved)[:, outside].mean() / np.abs(change)[:, outside].mean()),
            )  # fmt: skip
    return figures
