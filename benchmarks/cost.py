"""What an iteration costs: time against one plain generation of the same batch, and peak memory.

    python benchmarks/cost.py

Each row runs in a process of its own. Plain generation (no hooks, no gradient) and training take turns in one run;
the ratio is the median over turns. Memory is the peak of the process, less what it holds before training.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

CHOICES: dict[str, dict[str, Any]] = {
    "in one piece": {},
    "cut between steps": {"backprop_through_steps": False},
    "checkpointed": {"gradient_checkpointing": True},
    "micro-batches of 16": {"micro_batch_size": 16},
    "micro-batches of 4": {"micro_batch_size": 4},
    "micro-batches of 1": {"micro_batch_size": 1},
    "micro-batches of 4, checkpointed": {"micro_batch_size": 4, "gradient_checkpointing": True},
    "256 prompts, micro-batches of 4": {"micro_batch_size": 4, "prompts": 256},
    "256 prompts, micro-batches of 4, checkpointed": {
        "micro_batch_size": 4, "gradient_checkpointing": True, "prompts": 256,
    },
    "256 prompts, in one piece": {"prompts": 256},
    "attention, in one piece": {"target_modules": "attention"},
}  # fmt: skip


def measure(choice: str, threads: int, turns: int) -> dict[str, float]:
    """Runs in a process of its own."""
    from linea_diffusion import LinEASDiffusionPipeline, TrainingConfig
    from linea_diffusion.pipelines.calling import generators
    from linea_diffusion.shapeland.captions import plain_captions
    from linea_diffusion.steering.call import RunningCall
    from linea_diffusion.steering.steer import steer
    from linea_diffusion.training.iteration import batches_of
    from linea_diffusion.training.loss.targets import law_targets
    from linea_diffusion.training.optimizer import MapOptimizer

    torch.set_num_threads(threads)
    change = dict(CHOICES[choice])
    prompts = plain_captions(held_out=False)[: change.pop("prompts", 32)]
    config = TrainingConfig(sparsity=0.0, **change)
    pipe = LinEASDiffusionPipeline.from_pretrained("shapeland-unet").base
    pipe.set_progress_bar_config(disable=True)
    seconds: dict[str, list[float]] = {"plain": [], "train": []}
    with batches_of(pipe, config) as batches:
        sizes = TrainingConfig(micro_batch_size=config.micro_batch_size or 32)
        batches.config = sizes if len(prompts) > 32 else config  # targets in pieces: only the iteration is measured
        samples = batches.samples(prompts)
        (target,) = law_targets(samples, samples, [1.0], scaled=False)
        batches.config = config
        maps = batches.fresh_maps(samples)
        optimizer = MapOptimizer(maps, config)
        layers = [(dict(maps.named_maps()), torch.tensor(1.0))]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for turn in range(turns):
            for kind in ("train", "plain") if len(prompts) <= 32 else ("train",):
                began = time.perf_counter()
                if kind == "train":
                    with steer(pipe, layers, call=RunningCall(progress=batches.trajectory.progress)):
                        batches.gradients(maps, prompts, range(len(prompts)), target, weight=1.0)
                    optimizer.step(turn)
                    if turn == 0:
                        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                else:
                    with torch.no_grad():
                        pipe(
                            prompts, num_inference_steps=4, guidance_scale=1.0, output_type="latent",
                            generator=generators(range(len(prompts))),
                        )  # fmt: skip
                seconds[kind].append(time.perf_counter() - began)
    ratios = [train / plain for train, plain in zip(seconds["train"], seconds["plain"], strict=False)][1:]
    return {
        "ratio": statistics.median(ratios) if ratios else float("nan"),
        "low": min(ratios, default=float("nan")),
        "high": max(ratios, default=float("nan")),
        "MiB": (after - before) / 1024,
        "MiB before": before / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--only")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.threads, options.turns)))
        return
    lines = [
        "# What a training iteration costs",
        "",
        f"{date.today()}, {platform.machine()}, {options.threads} threads, torch {torch.__version__}, "
        "`shapeland-unet`, norms, 4 denoising steps, 32 prompts unless said. Time of an iteration against one plain "
        f"generation of the same 32 prompts: median (lowest to highest) of {options.turns - 1} turns after a first "
        "that does not count. Peak memory of the first iteration beyond the highest before it.",
        "",
        "| way | iteration / plain generation | peak memory, MiB |",
        "| --- | --- | --- |",
    ]
    for choice, change in CHOICES.items():
        turns = 1 if "prompts" in change else options.turns
        command = [sys.executable, __file__, "--only", choice, "--threads", str(options.threads), "--turns", str(turns)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.strip().splitlines()[-1])
        ratio = "-" if turns == 1 else f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        lines.append(f"| {choice} | {ratio} | {row['MiB']:.0f} |")
        print(lines[-1], flush=True)
    (Path(__file__).parent / "results" / "cost.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
