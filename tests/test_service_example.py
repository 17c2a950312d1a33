"""examples/service.py: requests of different styles and strengths in one call, each picture what it is alone."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from litserve import LitServer
from litserve.utils import wrap_litserve_start
from PIL import Image

from examples.service import Pictures, paint

from .batches import tiny_pipe, tiny_style

QUICK = {"num_inference_steps": 1, "guidance_scale": 1.0, "height": 16, "width": 16}
ASKED = [
    {"prompt": "a red heart", "seed": 1, "strength": {"neon": 0.7}},
    {"prompt": "a blue fish", "seed": 2, "strength": {"mosaic": 1.0}},
    {"prompt": "a cat", "seed": 3},
    {"prompt": "a dog", "seed": 4, "strength": {"none": 1.0}},
    {"prompt": "a star", "seed": 5, "strength": {"neon": 0.2, "mosaic": 0.4}},
]


def tiny():
    pipe = tiny_pipe()
    pipe.set_progress_bar_config(disable=True)
    pipe.load_steering(tiny_style(pipe, 1), "neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    return pipe


class Counted(Pictures):
    """Waits until all requests are there, and keeps how many shared each call."""

    def __init__(self, calls, **settings):
        super().__init__(tiny, **settings)
        self.calls = calls
        self.batch_timeout = 60

    def predict(self, asked):
        with Path(self.calls).open("a") as file:
            file.write(f"{len(asked)}\n")
        return super().predict(asked)


def test_requests_share_calls_and_are_what_they_are_alone(tmp_path):
    api = Counted(str(tmp_path / "calls"), most=len(ASKED), **QUICK)
    server = LitServer(api, accelerator="cpu", timeout=False)
    with (
        wrap_litserve_start(server) as started,
        TestClient(started.app) as client,
        ThreadPoolExecutor(len(ASKED)) as threads,
    ):
        made = list(threads.map(lambda one: client.post("/predict", json=one), ASKED))
    assert [one.status_code for one in made] == [200, 200, 200, 400, 200]
    assert "none" in made[3].text
    assert (tmp_path / "calls").read_text().split() == [str(len(ASKED))]
    alone = tiny()
    for asked, one in zip(ASKED, made, strict=True):
        if one.status_code == 200:
            (picture,) = paint(alone, [asked], **QUICK)
            with Image.open(io.BytesIO(one.content)) as image:
                assert np.abs(np.asarray(image).astype(int) - np.asarray(picture).astype(int)).max() <= 1


def test_the_page_shows_the_example():
    root = Path(__file__).parents[1]
    assert "examples/service.py" in (root / "docs" / "service.md").read_text()
