"""Ways to steer at equal amount of style, by the truth classifier: folders of maps on prompts nothing was learned from.

    python -m benchmarks judge runs/maps --methods lineas lin-act prompting --styles neon halftone --seeds 0 1
    python -m benchmarks judge runs/maps --call usual --prompts 16 --noises 1 --positions 5
    python -m benchmarks judge runs/maps --table

reads maps from ROOT/{model}/{method}/{style}-{seed}/, keeps a line for every picture in runs/judge/, where nothing is
made again unless the maps are others, and writes results/judge.md (judge_shapeland-dit.md; judge_usual_held-out.md for
another call or other prompts). "prompting" asks in words, ", STYLE" behind the prompt; "prompting-levels" asks in words
for less of it (", slightly STYLE").
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from linea_diffusion import SteeringMaps, load_concept
from linea_diffusion.pipelines.rendering.render import render_prompts
from linea_diffusion.scoring import tables
from linea_diffusion.shapeland import DEFAULT_ARGUMENTS
from linea_diffusion.shapeland.styles import STYLES
from linea_diffusion.shapeland.truth import held_out_prompts, truth_judge

from .judge_table import write_table
from .workbench import FIRST, add_shared, opened

FIGURES = ("truth_style", "truth_amount", "truth_object", "truth_color")
FIELDS = ("prompt", "noise", "strength", "maps", *FIGURES)
WORDS = {
    "prompting": {1.0: "{prompt}, {style}"},
    "prompting-levels": {
        0.0: "{prompt}",
        0.25: "{prompt}, a touch of {style}",
        0.5: "{prompt}, slightly {style}",
        0.75: "{prompt}, fairly {style}",
        1.0: "{prompt}, {style}",
    },
}
"""Methods that ask in words: strength -> what is asked."""
USUAL_STEPS = {"shapeland-unet": 50, "shapeland-dit": 28}
BATCH = 64


@dataclass(frozen=True)
class Judged:
    """A method's pictures of one style, and where their figures lie."""

    method: str
    style: str
    seed: int
    options: argparse.Namespace

    @property
    def folder(self) -> Path:
        """Of the maps; blanks of a style may be hyphens."""
        folder = self.options.root / self.options.model / self.method
        names = [f"{style}-{self.seed}" for style in (self.style, self.style.replace(" ", "-"))]
        return next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])

    @property
    def file(self) -> Path:
        """Of the figures, one line for a picture."""
        kind = f"{self.options.call}-{self.options.set}{'-calibrated' if self.calibrated else ''}"
        return self.options.runs / self.options.model / kind / self.method / f"{self.style}-{self.seed}.csv"

    @property
    def calibrated(self) -> bool:
        """Whether the strength is read on the calibrated dial."""
        return self.options.calibrated and self.method not in WORDS

    @property
    def maps(self) -> str:
        """What the pictures were made with: a digest of the maps' numbers, or the words."""
        if self.method in WORDS:
            return "words"
        file = self.folder / "steering.safetensors"
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else ""

    @property
    def strengths(self) -> list[float]:
        """The dial's positions."""
        if self.method in WORDS:
            return list(WORDS[self.method])
        return [round(float(one), 6) for one in np.linspace(0, 1, self.options.positions)]

    @property
    def pictures(self) -> tuple[list[str], list[int]]:
        """Prompts and noise: held out, each prompt with several; or those of training, with the noise of training."""
        if self.options.set == "training":
            prompts = list(load_concept(self.style).source)[: self.options.prompts]
            return prompts, [self.seed * 1_000_003 + row for row in range(len(prompts))]
        prompts = held_out_prompts(self.options.prompts)
        starts = [1000 * (number + 1) for number in range(self.options.noises)]
        return prompts * len(starts), [start + row for start in starts for row in range(len(prompts))]

    def known(self) -> dict[tuple[str, int, float], dict[str, str]]:
        """(prompt, noise, strength) -> line, of these very maps. Maps that are gone keep what was judged of them."""
        rows = tables.read_table(self.file) if self.file.is_file() else []
        mine = self.maps
        return {
            (row["prompt"], int(row["noise"]), float(row["strength"])): row for row in rows if mine in ("", row["maps"])
        }

    def figure(self, name: str) -> np.ndarray | None:
        """A figure of the pictures at the strengths, (n, k); None if some are missing."""
        known, (prompts, noises) = self.known(), self.pictures
        keys = [[(p, n, strength) for strength in self.strengths] for p, n in zip(prompts, noises, strict=True)]
        if not all(key in known for row in keys for key in row):
            return None
        return np.array([[float(known[key][name]) for key in row] for row in keys])


Render = Callable[[Sequence[str], Sequence[int]], list[Any]]


def judge(judged: Judged, pipe: Any, render: Render, unsteered: Render) -> None:
    """Make and judge the pictures that are not known yet, and write them after every strength."""
    known, (prompts, noises) = judged.known(), judged.pictures
    verdict = truth_judge(judged.style)
    maps = None if judged.method in WORDS else SteeringMaps.from_pretrained(judged.folder)
    digest = judged.maps
    for strength in judged.strengths:
        missing = [key for key in zip(prompts, noises, strict=True) if (*key, strength) not in known]
        if not missing:
            continue
        asked, noise = [list(part) for part in zip(*missing, strict=True)]
        wording = WORDS.get(judged.method, {}).get(strength, "{prompt}")
        texts = [wording.format(prompt=prompt, style=judged.style) for prompt in asked]
        context: AbstractContextManager[Any] = nullcontext()
        if maps is not None and strength:
            context = maps.apply(pipe.base, strength, calibrated=None if judged.calibrated else False)
        with context:
            images = (unsteered if texts == asked and not strength else render)(texts, noise)
        figures = verdict(images, asked)
        for row, key in enumerate(missing):
            numbers = [f"{float(figures[name][row]):.5f}" for name in FIGURES]
            known[(*key, strength)] = dict(
                zip(FIELDS, [key[0], str(key[1]), str(strength), digest, *numbers], strict=True)
            )
        judged.file.parent.mkdir(parents=True, exist_ok=True)
        tables.write_table(list(known.values()), judged.file)
    print(judged.file, flush=True)


def call_of(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of the pipeline's calls."""
    call = dict(DEFAULT_ARGUMENTS[options.model])
    if options.call == "usual":
        call |= {"num_inference_steps": USUAL_STEPS[options.model], "guidance_scale": 7.5}
    return call


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, help="folder of maps: ROOT/{model}/{method}/{style}-{seed}/")
    add_shared(parser, model=FIRST, prompts=32, threads=1)
    parser.add_argument(
        "--methods", nargs="+", default=["lineas", "lin-act", "gaussian-act", "mean-shift", "prompting"],
        help="folders; the first is compared with each of the others",
    )  # fmt: skip
    parser.add_argument("--styles", nargs="+", default=list(STYLES), choices=list(STYLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--noises", type=int, default=2, help="for each held-out prompt")
    parser.add_argument("--positions", type=int, default=9, help="of the dial, evenly from 0 to 1")
    parser.add_argument("--set", choices=("held-out", "training"), default="held-out", help="of prompts and noise")
    parser.add_argument("--call", choices=("embedded", "usual"), default="embedded",
                        help="the pipeline's own; or 50 (28) steps at guidance 7.5")  # fmt: skip
    parser.add_argument(
        "--calibrated", action="store_true", help="read the calibrated dial of maps that have one, as users do"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/judge"), help="where figures of pictures are kept")
    parser.add_argument("--table", action="store_true", help="make the table only")
    parser.add_argument("--out", type=Path, help="table; beside the others when left out")


def main(options: argparse.Namespace) -> None:
    everything = [
        Judged(method, style, seed, options)
        for style in options.styles
        for method in options.methods
        for seed in (options.seeds if method not in WORDS or options.set == "training" else options.seeds[:1])
    ]
    if not options.table:
        pipe, call = opened(options.model), call_of(options)

        def render(prompts: Sequence[str], noise: Sequence[int]) -> list[Any]:
            return render_prompts(pipe.base, prompts, noise, batch_size=BATCH, **call)

        kept = cache(render)  # the same for all methods and styles
        for judged in everything:
            if judged.method in WORDS or judged.maps:
                judge(judged, pipe, render, lambda prompts, noise: kept(tuple(prompts), tuple(noise)))
            else:
                print(f"no maps in {judged.folder}", flush=True)
    write_table(everything, options, call_of(options))
