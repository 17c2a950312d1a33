"""Requests of several users: a call for all that wait against a call for each, through the app of examples/service.py.

    python -m benchmarks serving --requests 32 --rounds 5

Requests differ in prompt, seed, style and strength and come all at once; the two ways take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from typing import Any

from linea_diffusion import SteeringMaps

from .workbench import RESULTS, add_shared, made, opened, table

STYLES = ("neon", "mosaic")


def steered() -> Any:
    """The embedded U-Net with two styles of random numbers: what they look like does not matter."""
    import torch

    from linea_diffusion.steering.activations import record_activations
    from linea_diffusion.steering.presets import find_modules

    pipe = opened()
    modules = find_modules(pipe, "attention")
    with record_activations(modules) as recorded:
        pipe("a heart", num_inference_steps=1, output_type="latent")
    for name in STYLES:
        maps = SteeringMaps({module: recorded[module][0].shape[-1] for module in modules})
        with torch.no_grad():
            for parameter in maps.parameters():
                parameter.normal_(std=0.1)
        pipe.load_steering(maps.requires_grad_(False), name)
    return pipe


async def seconds(pipe: Any, count: int, most: int) -> float:
    import httpx

    from examples.service import service

    app = service(pipe, most=most, num_inference_steps=8)
    asked = [
        {"prompt": "a red heart", "seed": n, "strength": json.dumps({STYLES[n % 2]: n % 5 / 4})} for n in range(count)
    ]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service", timeout=None) as client:
        began = time.perf_counter()
        answers = await asyncio.gather(*(client.get("/", params=one) for one in asked))
        took = time.perf_counter() - began
    assert all(answer.status_code == 200 for answer in answers)
    return took


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    add_shared(parser, threads=1)


def main(options: argparse.Namespace) -> None:
    pipe, times = steered(), dict[int, list[float]]({1: [], 4: [], 16: []})
    for _ in range(options.rounds):
        for most, rates in times.items():
            rates.append(options.requests / asyncio.run(seconds(pipe, options.requests, most)))
    rows = []
    for most, rates in times.items():
        ratios = [rate / base for rate, base in zip(rates, times[1], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append([most, f"{statistics.median(rates):.2f}", spread])
    head = ["requests in a call, at most", "pictures a second, median", "against one at a time"]
    text = "\n".join(["# Requests of several users in one call", "", made(), "", *table(head, rows)])
    (RESULTS / "serving.md").write_text(text + "\n")
    print(text)
