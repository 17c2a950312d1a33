"""examples/service.py: requests of different styles and strengths in one call, each picture what it is alone."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.service import Together, service

from .batches import tiny_pipe, tiny_style

QUICK = {"num_inference_steps": 1, "guidance_scale": 1.0, "height": 16, "width": 16}
ASKED = [
    {"prompt": "a red heart", "seed": 1, "strength": {"neon": 0.7}},
    {"prompt": "a blue fish", "seed": 2, "strength": {"mosaic": 1.0}},
    {"prompt": "a cat", "seed": 3, "strength": {}},
    {"prompt": "a dog", "seed": 4, "strength": {"none": 1.0}},
    {"prompt": "a star", "seed": 5, "strength": {"neon": 0.2, "mosaic": 0.4}},
]


@pytest.fixture(scope="module")
def tiny():
    pipe = tiny_pipe()
    pipe.set_progress_bar_config(disable=True)
    pipe.load_steering(tiny_style(pipe, 1), "neon")
    pipe.load_steering(tiny_style(pipe, 2), "mosaic")
    return pipe


async def answers(app, asked):
    import httpx

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        return await asyncio.gather(
            *(client.get("/", params={**one, "strength": json.dumps(one["strength"])}) for one in asked)
        )


def test_requests_share_calls_and_are_what_they_are_alone(tiny, monkeypatch):
    calls, paint = [], Together.paint

    def counted(self, wanted):
        calls.append(len(wanted))
        return paint(self, wanted)

    monkeypatch.setattr(Together, "paint", counted)
    made = asyncio.run(answers(service(tiny, **QUICK), ASKED))
    assert [one.status_code for one in made] == [200, 200, 200, 400, 200]
    assert "none" in made[3].text
    assert max(calls) >= 4
    for asked, one in zip(ASKED, made, strict=True):
        if one.status_code == 200:
            (alone,) = Together(tiny, **QUICK).paint([asked])
            with Image.open(io.BytesIO(one.content)) as image:
                assert np.abs(np.asarray(image).astype(int) - np.asarray(alone).astype(int)).max() <= 1


def test_the_page_shows_the_example():
    root = Path(__file__).parents[1]
    assert "examples/service.py" in (root / "docs" / "service.md").read_text()
