"""The paper's picture experiments on a real model: LinEAS as in the paper, ours, Lin-AcT, and words.

    python -m benchmarks paper --model FOLDER_OR_ID --captions captions_val2017.json --clip ViT-L-14-quickgelu \
        --clip-weights openai --out runs/paper

fits each method on 32 source and 32 target prompts of each style, turns its dial from 0 to 1 on captions that it was
not fitted on, in one and in four steps, and scores every picture: CLIP with the style's text and with the caption,
likeness to the picture at strength 0, what is kept at equal amount of style, and how evenly dials turn. Beside the
printed figures of the papers. SDXL-DMD2, SDXL-Lightning and FLUX.1-schnell are called as they were distilled, by the
words dmd2, lightning and schnell in their names; for others --call says it. `lineas-paper` are dense coordinate-wise
maps of means, unpaired, at strength 1 only: of all norms of a U-Net, of a transformer's attention outputs. Its dial
and Lin-AcT's are the papers'; ours is calibrated. Concepts that remove something are compared with the figures of
LinEAS (--concepts remove-umbrellas ... --methods lineas-paper lineas lin-act); their captions are those that name it.

The same command goes on where it was killed: OUT/steps-N/CONCEPT/METHOD holds a method that is done.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from linea_diffusion import ClipScorer, Concept, LinEASDiffusionPipeline, StyleGrid, evaluate, load_concept, recipe_for
from linea_diffusion.cli.options.machines import device_of, dtype_of, silence_loading
from linea_diffusion.cli.options.waiting import print_efforts
from linea_diffusion.errors import make_folder
from linea_diffusion.evaluation.effort import fitting_effort
from linea_diffusion.evaluation.evaluate import Pictures
from linea_diffusion.evaluation.evaluation_page import evaluation_page
from linea_diffusion.evaluation.held_out import judge_of
from linea_diffusion.evaluation.method_names import PROMPTING
from linea_diffusion.evaluation.methods import kept_maps
from linea_diffusion.evaluation.records import Record, read_records, write_records
from linea_diffusion.grids.plans import Cell
from linea_diffusion.grids.report.page import write_report
from linea_diffusion.pipelines.sizing.memory import call_memory
from linea_diffusion.pipelines.sizing.shapes import shapes_of
from linea_diffusion.scoring.fitting import clip_for
from linea_diffusion.steering.parsing import parse_strengths
from linea_diffusion.training.config import TrainingConfig
from linea_diffusion.training.effort import Effort, picture_effort, seconds_of_pass

from . import paper_setup
from .memory_counted import GIB, shapes_of_maps, training_memory
from .paper_table import lines
from .workbench import add_shared, command, settings_of, write

METHODS = ("lineas-paper", "lineas", "lin-act", PROMPTING)
OURS = "lineas"
"""The method whose dial is calibrated; those of the papers have the papers' dial."""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, seed=0, prompts=64)
    parser.add_argument("--model", default="shapeland-unet", help="a diffusers folder, a Hub id, or an embedded model")
    parser.add_argument(
        "--captions", type=Path, help="COCO's captions (.json), or one a line; the package's if left out"
    )
    parser.add_argument("--concepts", nargs="+", default=list(paper_setup.STYLES), help="names, or files of your own")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 4], help="of denoising, each an experiment")
    parser.add_argument("--strengths", default="0:1:9")
    parser.add_argument("--call", nargs="+", default=[], metavar="KEY=VALUE", help="arguments of the pipeline's calls")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of TrainingConfig")
    parser.add_argument("--clip", help="see linea evaluate --help")
    parser.add_argument("--clip-weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-size", type=int, default=8, help="pictures at once")
    parser.add_argument("--shown", type=int, default=6, help="captions whose pictures are kept, for grids and reports")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"))
    parser.add_argument("--dry-run", action="store_true", help="only say time and memory")


def main(options: argparse.Namespace) -> None:
    silence_loading()
    pipe = _opened(options)
    experiments = [_experiment(options, pipe, steps) for steps in options.steps]
    if options.dry_run:
        _say(options, experiments)
        return
    make_folder(options.out)
    name = clip_for(options.clip, options.model)
    scorer = ClipScorer(name, options.clip_weights, device=device_of(options.device))
    for experiment in experiments:
        experiment.run(scorer)


@dataclass(frozen=True)
class Experiment:
    """All methods and concepts with one number of denoising steps."""

    options: argparse.Namespace
    pipe: Any
    steps: int
    arguments: dict[str, Any]
    prompts: list[tuple[Concept, list[str]]]

    @property
    def folder(self) -> Path:
        return self.options.out / f"steps-{self.steps}"

    @property
    def strengths(self) -> list[float]:
        return parse_strengths(self.options.strengths)

    def config(self, concept: Concept) -> TrainingConfig:
        """How our method is fitted; others take from it how the pipeline is called."""
        call = {"num_inference_steps": self.steps, "seed": self.options.seed}
        if "guidance_scale" in self.arguments:
            call["guidance_scale"] = self.arguments["guidance_scale"]
        rest = {key: one for key, one in self.arguments.items() if key not in call}
        return recipe_for(self.pipe, concept, call_arguments=rest, **{**call, **settings_of(self.options.set)})

    def methods(self, concept: Concept) -> list[str]:
        """Those that there are for a concept; words cannot ask for less of something."""
        removal = concept.kind == paper_setup.REMOVAL
        return [one for one in self.options.methods if not (removal and one == PROMPTING)]

    def place(self, concept: Concept, method: str) -> Path:
        return self.folder / concept.name / method

    def efforts(self) -> list[Effort]:
        """What is still to be done."""
        efforts = []
        for concept, prompts in self.prompts:
            for method in self.methods(concept):
                if not self.place(concept, method).is_dir():
                    efforts += fitting_effort(method, self.pipe, concept, self.config(concept))
                    count = len(prompts) * (2 if method == PROMPTING else len(self.strengths))
                    stage = f"evaluate {concept.name}, {method}"
                    efforts.append(picture_effort(self.pipe, stage, count, self.arguments))
        return efforts

    def run(self, scorer: ClipScorer) -> None:
        """Do what is not done, and write tables, grids and the report of all."""
        records: list[Record] = []
        pictures: Pictures = {}
        for concept, prompts in self.prompts:
            for method in self.methods(concept):
                self._evaluated(concept, method, prompts, scorer)
                place = self.place(concept, method)
                records += read_records(place / "evaluation.csv")
                pictures |= _pictures(place, concept.name, method, prompts[: self.options.shown])
                _grid(place, concept.name, method, pictures)
        removal = all(concept.kind == paper_setup.REMOVAL for concept, _ in self.prompts)
        facts = f"{self.options.model}, {self.steps} steps, {scorer.name}, {self.arguments}."
        write(self.folder / "paper.md", "The paper's picture experiments", facts, lines(records, removal=removal))
        page = evaluation_page(records, pictures=pictures, facts=self.arguments, command=command())
        write_report(page, self.folder / "report.html")
        print(f"{self.folder / 'report.html'}: pictures; beside each method its grid.webp")

    def _evaluated(self, concept: Concept, method: str, prompts: Sequence[str], scorer: ClipScorer) -> None:
        """One method of one concept, in a folder that has its name when all is in it."""
        place = self.place(concept, method)
        if place.is_dir():
            return
        kept, shown = self.folder / concept.name / "maps", self.options.shown
        maps = kept_maps(method, self.pipe, concept, self.config(concept), kept)
        part = place.with_suffix(".part")
        make_folder(part)

        def save(_: str, strength: float, images: Sequence[Image.Image]) -> None:
            for number, image in enumerate(images[:shown]):
                image.save(part / f"{number}_{strength:g}.png")

        records = evaluate(
            self.pipe, {method: maps}, concept.texts, prompts, strengths=self.strengths, scorer=scorer,
            judge=judge_of(concept, self.options.model), seed=self.options.seed + 1000, seeds=(self.options.seed,),
            batch_size=self.options.batch_size, calibrated=None if method == OURS else False, on_pictures=save,
            **self.arguments,
        )  # fmt: skip
        write_records(records, part / "evaluation.csv")
        part.rename(place)


def _opened(options: argparse.Namespace) -> LinEASDiffusionPipeline:
    device = device_of(options.device)
    pipe = LinEASDiffusionPipeline.from_pretrained(options.model, dtype=dtype_of(options.dtype, device, options.model))
    pipe = pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _experiment(options: argparse.Namespace, pipe: LinEASDiffusionPipeline, steps: int) -> Experiment:
    arguments = paper_setup.called(pipe, options.model, steps, settings_of(options.call))
    captions = None if options.captions is None else paper_setup.coco_captions(options.captions)
    prompts = []
    for concept in map(load_concept, options.concepts):
        texts = paper_setup.held_out(concept, options.model, captions, options.prompts, options.seed)
        prompts.append((concept, texts))
    return Experiment(options, pipe, steps, arguments, prompts)


def _pictures(place: Path, style: str, method: str, prompts: Sequence[str]) -> Pictures:
    """The pictures that were kept of a method."""
    found: Pictures = {}
    for file in place.glob("*_*.png"):
        number, strength = file.stem.split("_")
        if int(number) < len(prompts):
            found[style, method, prompts[int(number)], float(strength)] = Image.open(file).copy()
    return dict(sorted(found.items(), key=lambda one: one[0][3]))


def _grid(place: Path, style: str, method: str, pictures: Pictures) -> None:
    """A sheet of a method's pictures, captions by strengths."""
    rows: dict[str, list[Cell]] = {}
    for (concept, way, prompt, strength), image in pictures.items():
        if (concept, way) == (style, method):
            rows.setdefault(prompt, []).append(Cell(prompt, strength, 0, image, style=style, method=method))
    if rows:
        StyleGrid(list(rows.values()), style=style, title=f"{style}, {method}").save(place / "grid.webp")


def _say(options: argparse.Namespace, experiments: Sequence[Experiment]) -> None:
    """Time and memory, before anything is done."""
    for one in experiments:
        pipe, dtype = one.pipe, str(one.pipe.dtype).removeprefix("torch.")
        call = ", ".join(f"{name}={value}" for name, value in one.arguments.items())
        print(f"{options.model}, {one.steps} steps, {len(one.prompts)} concepts, called with {call}")
        untimed = {key: value for key, value in one.arguments.items() if key != "timesteps"}
        print_efforts(one.efforts(), seconds_of_pass(pipe, untimed), f"on {pipe.device} in {dtype}")
    first = experiments[0]
    shapes = shapes_of(options.model, first.pipe.dtype)
    shapes.set_progress_bar_config(disable=True)
    size = {key: first.arguments[key] for key in ("height", "width") if key in first.arguments}
    calls = call_memory(shapes, **size)
    pieces = training_memory(shapes, shapes_of_maps(shapes, first.config(first.prompts[0][0])), **size)
    print(
        f"memory, counted: {calls.of(options.batch_size) / GIB:.2f} GiB for {options.batch_size} pictures at once, "
        f"{sum(pieces) / GIB:.2f} GiB to train with --set micro_batch_size=1 gradient_checkpointing=True"
    )
