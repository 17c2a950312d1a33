"""Requests of several users: a call for all that wait against a call for each, through examples/service.py.

    python -m benchmarks serving --requests 32 --rounds 5

Requests differ in prompt, seed, style and strength and come all at once; the two ways take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
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


def seconds(client: Any, count: int, at_once: int) -> float:
    """From the first request to the last answer, with so many requests waiting at any time."""
    asked = [{"prompt": "a red heart", "seed": n, "strength": {STYLES[n % 2]: n % 5 / 4}} for n in range(count)]
    with ThreadPoolExecutor(at_once) as threads:
        began = time.perf_counter()
        answers = list(threads.map(lambda one: client.post("/predict", json=one), asked))
        took = time.perf_counter() - began
    assert all(answer.status_code == 200 for answer in answers)
    return took


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    add_shared(parser, threads=1)


def main(options: argparse.Namespace) -> None:
    from fastapi.testclient import TestClient
    from litserve import LitServer
    from litserve.utils import wrap_litserve_start

    from examples.service import Pictures

    times = dict[int, list[float]]({1: [], 4: [], 16: []})
    with ExitStack() as servers:
        clients = {}
        for most in (4, 16):
            server = LitServer(Pictures(steered, most, num_inference_steps=8), accelerator="cpu", timeout=False)
            clients[most] = servers.enter_context(TestClient(servers.enter_context(wrap_litserve_start(server)).app))
            seconds(clients[most], 1, 1)
        for _ in range(options.rounds):
            for most, rates in times.items():
                at_once = 1 if most == 1 else options.requests
                rates.append(options.requests / seconds(clients[max(most, 4)], options.requests, at_once))
    rows = []
    for most, rates in times.items():
        ratios = [rate / base for rate, base in zip(rates, times[1], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append([most, f"{statistics.median(rates):.2f}", spread])
    head = ["requests in a call, at most", "pictures a second, median", "against one at a time"]
    text = "\n".join(["# Requests of several users in one call", "", made(), "", *table(head, rows)])
    (RESULTS / "serving.md").write_text(text + "\n")
    print(text)
