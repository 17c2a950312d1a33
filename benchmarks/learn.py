"""Learn the maps that `judge` judges, and note what each training costs.

    python -m benchmarks learn --model shapeland-dit --methods lineas lin-act --styles neon --seeds 0 1 2

fills ``runs/maps/{model}/{method}/{style}-{seed}/``; what is there is not made again. ``cost.json`` beside it holds
the CPU seconds and how many rows went through the denoiser, without and with gradients. A method is one of
`linea_diffusion.evaluation.methods`, one of `OFFICIAL`, or one of them with settings, as ``lineas,iterations=30``. All
get a calibrated dial, which is part of the cost where it is part of the training.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from linea_diffusion import LinEASDiffusionPipeline, load_concept, recipe_for, train_steering_maps
from linea_diffusion.evaluation.methods import METHODS, fit
from linea_diffusion.pipelines.calling import denoisers_of
from linea_diffusion.training.calibration.calibrate import calibrate_progress
from linea_diffusion.training.recipes import paper_recipe

from .workbench import FIRST, add_shared, opened, settings_of

OFFICIAL: dict[str, dict[str, Any]] = {
    "official-quick": {"batch_size": 4, "lr": 0.01, "iterations": 60, "scale_by_variance": False},
    "official": {
        "batch_size": 4,
        "lr": 0.001,
        "iterations": 1000,
        "num_inference_steps": 1,
        "scale_by_variance": False,
    },
}
"""What the paper's own code does: batches of 4, quick or by its defaults."""


@contextmanager
def counted(pipe: Any) -> Iterator[dict[str, int]]:
    """Within the context rows that go through the denoiser are counted."""
    rows = {"without gradients": 0, "with gradients": 0}

    def count(model: Any, args: Any, kwargs: Any) -> None:
        first = next(iter([*args, *kwargs.values()]))
        rows["with gradients" if torch.is_grad_enabled() else "without gradients"] += len(first)

    hooks = [model.register_forward_pre_hook(count, with_kwargs=True) for model in denoisers_of(pipe)]
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, model=FIRST, styles=["neon", "watercolor", "mosaic"], threads=1)
    parser.add_argument("--methods", nargs="+", default=["lineas"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/maps"))


def main(options: argparse.Namespace) -> None:
    pipe = opened(options.model)
    for method in options.methods:
        for style in options.styles:
            for seed in options.seeds:
                folder = options.out / options.model / method / f"{style}-{seed}"
                if not (folder / "cost.json").exists():
                    _learn(pipe, method, style, seed, folder)


def _learn(pipe: LinEASDiffusionPipeline, method: str, style: str, seed: int, folder: Path) -> None:
    concept = load_concept(style)
    name, *changes = method.split(",")
    settings = settings_of(one.replace("/", ",") for one in changes)
    with counted(pipe) as rows:
        began = time.process_time()
        if name in OFFICIAL:
            maps = train_steering_maps(pipe, concept, paper_recipe(pipe, seed=seed, calibrate=False, **OFFICIAL[name]))
        elif settings:
            maps = METHODS[name](pipe, concept, recipe_for(pipe, concept, seed=seed, **settings))
        else:
            fitted = fit(name, pipe, concept, recipe_for(pipe, concept, seed=seed))
            assert fitted is not None
            maps = fitted
        seconds = time.process_time() - began
    if "calibration" not in maps.metadata:  # the same dial for all, so that each is read where its change is
        call = {"num_inference_steps": 4, "guidance_scale": 1.0}
        calibrate_progress(pipe, maps, concept.source[:8], seed=seed * 1_000_003, **call)
    maps.save_pretrained(folder)
    cost = {"seconds": round(seconds, 1), **rows, "numbers": maps.stored}
    (folder / "cost.json").write_text(json.dumps(cost) + "\n")
    print(folder, cost, flush=True)
