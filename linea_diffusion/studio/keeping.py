"""Taking a style out of the page: its files, a LoRA file for another program, or a repository on the Hub."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from ..errors import LineaError, short
from ..maps.steering_maps import SteeringMaps
from ..pipelines.rendering.samples import render_samples
from .workbench import Workbench, folder_name


def _maps(bench: Workbench, style: str | None) -> SteeringMaps:
    if not style:
        raise LineaError("got no style: expected one of this window")
    return bench.pipe.steering[bench.pipe.steering.find(style)]


def as_zip(bench: Workbench, style: str | None) -> Path:
    """The files of a style in one, for whoever downloads it.

    Raises:
        LineaError: no such style.
    """
    maps = _maps(bench, style)
    folder = bench.folder / folder_name(style or "")
    maps.save_pretrained(folder)
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for one in sorted(folder.iterdir()):
            file.write(one, f"{folder.name}/{one.name}")
    return path


def as_lora(bench: Workbench, style: str | None, program: str) -> tuple[Path, str]:
    """A LoRA file of a style for a program, and what it loses.

    Raises:
        LineaError: no such style, or a program that cannot carry it.
    """
    maps = _maps(bench, style)
    path = bench.folder / f"{folder_name(style or '')}_{folder_name(program)}.safetensors"
    with bench.model.turns.turn():
        report = maps.save_lora(path, bench.pipe, program)
    return path, str(report)


def push(bench: Workbench, style: str | None, repo_id: str, *, private: bool) -> str:
    """Put a style on the Hugging Face Hub with pictures of it; returns the address.

    Raises:
        LineaError: a page that others can reach, a name of no repository, or what `SteeringMaps.push_to_hub` raises.
    """
    if not bench.model.is_private:
        raise LineaError("got a page that others can reach: expected one on this machine to push with its account")
    if not re.fullmatch(r"[\w.-]{1,96}(/[\w.-]{1,96})?", repo_id.strip()):
        raise LineaError(f"got the repository {short(repo_id)}: expected NAMESPACE/NAME, such as you/neon")
    maps = _maps(bench, style)
    with bench.model.turns.turn():
        samples = render_samples(bench.pipe, maps, bench.scene.prompt, seed=bench.scene.seed, **bench.model.arguments)
    return maps.push_to_hub(repo_id.strip(), private=private, samples=samples)
