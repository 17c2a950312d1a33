"""What the tests of batches share: a tiny pipeline, a style for it, and reading what a batch wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from linea_diffusion import LinEASDiffusionPipeline, SteeringMaps
from linea_diffusion.steering.activations import record_activations
from linea_diffusion.steering.presets import find_modules

from .zoo.parts import seeded
from .zoo.unet import StableDiffusionPipeline, sd_parts

QUICK = {"size": 16, "steps": 1, "guidance": 1.0}
"""Fields for what tests leave out: the cheapest picture that the tiny pipeline draws."""


def tiny_base() -> StableDiffusionPipeline:
    """A real Stable Diffusion with random weights that draws 16 x 16 pictures in milliseconds."""
    return seeded(lambda: StableDiffusionPipeline(**sd_parts()))()


def tiny_pipe() -> LinEASDiffusionPipeline:
    """The same, steered."""
    return LinEASDiffusionPipeline(tiny_base())


def tiny_style(pipe: LinEASDiffusionPipeline, seed: int, **metadata) -> SteeringMaps:
    """Maps with random directions for the tiny pipeline."""
    modules = find_modules(pipe, "attention")
    with record_activations(modules) as recorded:
        pipe("a red heart", num_inference_steps=1, height=16, width=16, output_type="latent")
    maps = SteeringMaps({name: recorded[name][0].shape[-1] for name in modules}, metadata)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in maps.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return maps.requires_grad_(False)


def rows(out: Path, name: str = "metadata.jsonl") -> list[dict]:
    """The lines of a file that a batch wrote; none if it is not there."""
    file = out / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def pixels(out: Path, row: dict) -> np.ndarray:
    """The image of a line of metadata, as signed numbers."""
    with Image.open(out / row["file_name"]) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def files(out: Path) -> set[str]:
    """Everything below ``images/``, hidden files too."""
    return {str(path.relative_to(out)) for path in (out / "images").rglob("*") if path.is_file()}


def events(out: list[dict], name: str) -> list[dict]:
    """The events of one kind."""
    return [event for event in out if event["event"] == name]
