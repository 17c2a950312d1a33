"""Rendered training pictures, cached as plain arrays: the same scenes for every model."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..captions import training_scenes
from ..world import Scene, render

_CHUNK = 500


@dataclass(frozen=True)
class Renders:
    """Pictures (n, 64, 64, 3) uint8 with their captions and scenes, in the same order."""

    pictures: np.ndarray
    captions: list[str]
    scenes: list[Scene]


def _render_all(scenes: list[Scene]) -> np.ndarray:
    return np.stack([np.asarray(render(scene)) for scene in scenes])


def render_scenes(scenes: list[Scene], *, workers: int = 2) -> np.ndarray:
    """Render scenes on several processes: (n, 64, 64, 3) uint8."""
    chunks = [scenes[i : i + _CHUNK] for i in range(0, len(scenes), _CHUNK)]
    with ProcessPoolExecutor(workers) as pool:
        return np.concatenate(list(tqdm(pool.map(_render_all, chunks), total=len(chunks), desc="render")))


def load_renders(folder: Path, count: int, *, seed: int = 0) -> Renders:
    """The first `count` training scenes of `seed`, rendered once and kept in `folder`."""
    pictures_file = folder / f"renders-{seed}-{count}.npy"
    scenes_file = pictures_file.with_suffix(".json")
    if not scenes_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pairs = list(islice(training_scenes(seed), count))
        np.save(pictures_file, render_scenes([scene for scene, _ in pairs]))
        scenes_file.write_text(json.dumps([{**asdict(scene), "caption": caption} for scene, caption in pairs]))
    rows = json.loads(scenes_file.read_text())
    captions = [row.pop("caption") for row in rows]
    return Renders(np.load(pictures_file, mmap_mode="r"), captions, [Scene(**row) for row in rows])
