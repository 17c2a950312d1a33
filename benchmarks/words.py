"""Language models: ways to steer wordland-lm from rude to friendly, judged by the grammar that it learned from.

    python -m benchmarks words methods sizes layers sparsity two      # writes results/words.{csv,md}

Each training seed has sentences of its own, for all methods alike. Maps are kept in the work folder, rows in the table:
a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from linea_diffusion import (
    Concept,
    LinEASLanguageModel,
    SteeringMaps,
    gaussian_act,
    linear_act,
    mean_shift,
    recipe_for,
    train_steering_maps,
)
from linea_diffusion.evaluation.comparison import QUALITY
from linea_diffusion.evaluation.texts import evaluate_texts
from linea_diffusion.shapeland.wordland.grammar import write_prompts, write_sentences
from linea_diffusion.shapeland.wordland.judge import ATTRIBUTES, judge_of, other_of
from linea_diffusion.shapeland.wordland.vocabulary import NOTES

from .words_table import sections_in, tables
from .workbench import RESULTS, add_shared, write

STRENGTHS = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
FEW = (0.0, 1.0, 1.5)
"""Where the other questions than that of methods are asked."""
HALVES = (0.0, 0.5, 1.0)
"""Where that of two attributes is, whose changes add up."""
NORMS, ITERATIONS, LEARNING_RATE = "norms", 100, 0.03
LATER = r".*\.layers\.[23]\..*norm"
PLACES = {LATER: "norms of the later two blocks"}
"""What tables call patterns."""
SPARSE = {"l1": 3e-4, "group_lasso": 3e-5}
"""Weights of the paper's penalties, weighed against the mean over places."""
FIGURES = ("truth_source", "truth_target", "truth_topic", "truth_grammar", "perplexity", "distinct_2")
FIELDS = ("part", "method", "modules", "size", "seed", "strength", "kind", "prompt", "support", *FIGURES)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all when left out; `table` only writes")
    add_shared(parser, prompts=32, threads=1)
    parser.add_argument("--seeds", type=int, default=3, help="how many training seeds")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--work", type=Path, default=Path("runs/words"))
    parser.add_argument("--out", type=Path, default=RESULTS)


def main(options: argparse.Namespace) -> None:
    bench = Bench(options)
    for part in options.parts or PARTS:
        PARTS[part](bench)
        bench.report()


def sentences(attribute: str, size: int, seed: int) -> Concept:
    """A concept of so many sentences on each side; the seed's own."""
    other, kind = other_of(attribute), ATTRIBUTES[attribute]
    sides = [tuple(write_sentences(size, 2 * seed + side, **{kind: one})) for side, one in ((0, other), (1, attribute))]
    return Concept(attribute, *sides, f"a {attribute} text", f"a {other} text")


def lineas(lm: Any, concept: Concept, config: Any) -> SteeringMaps:
    return train_steering_maps(lm, concept, config)


METHODS: dict[str, tuple[Callable[..., SteeringMaps], dict[str, Any]]] = {
    "LinEAS": (lineas, {}),
    "LinEAS, sparse": (lineas, SPARSE),
    "LinEAS, lr 0.01, no map dropout": (lineas, {"map_dropout": 0.0, "lr": 0.01}),
    "ITI-c": (mean_shift, {}),
    "Gaussian-AcT": (gaussian_act, {}),
    "Lin-AcT": (linear_act, {}),
}


class Bench:
    """The model, its held-out prompts, and the table so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.lm = options, LinEASLanguageModel.from_pretrained("wordland-lm")
        self.path = options.out / "words.csv"
        self.rows = list(csv.DictReader(self.path.open())) if self.path.exists() else []
        count = options.prompts
        self.prompts = {
            "plain": write_prompts(count, 77),
            "rude": write_prompts(count, 78, toned=True, tone="rude"),
        }

    def maps(
        self, method: str, size: int, seed: int, modules: str = NORMS, *, attribute: str = "friendly", **changes: Any
    ) -> SteeringMaps:
        """Of one of the attributes, learned or found in the work folder."""
        parts = (method, size, seed, PLACES.get(modules, modules), attribute, *changes.values())
        name = "-".join(map(str, parts)).replace(" ", "_")
        folder = self.options.work / name
        if folder.is_dir():
            return SteeringMaps.from_pretrained(folder)
        fit, settings = METHODS[method]
        settings = {**settings, **changes, "target_modules": modules, "seed": seed}
        own = {"iterations": self.options.iterations, "lr": LEARNING_RATE} if fit is lineas else {}
        concept = sentences(attribute, size, seed)
        maps = fit(self.lm, concept, recipe_for(self.lm, concept, **{**own, **settings}))
        maps.save_pretrained(folder)
        print(f"{name}: {maps.support:.3f} of {maps.size} numbers", flush=True)
        return maps

    def judge(
        self, part: str, method: str, maps: SteeringMaps | None, *, modules: str = NORMS, size: int = 32, seed: int = 0,
        strengths: Sequence[float] = STRENGTHS, attribute: str = "friendly",
    ) -> None:  # fmt: skip
        """Add the rows of a method that are not there yet."""
        same = (method, PLACES.get(modules, modules), str(size), str(seed))
        found = [one for one in self.rows if (one["method"], one["modules"], one["size"], one["seed"]) == same]
        if any(one["part"] == part for one in found):
            return
        if set(strengths) <= {float(one["strength"]) for one in found}:  # another part has asked it
            first = [one for one in found if one["part"] == found[0]["part"]]
            self.rows += [{**one, "part": part} for one in first if float(one["strength"]) in strengths]
        else:
            self._evaluate((part, *same), maps, strengths, attribute)
        self._save()

    def _evaluate(
        self, key: tuple[str, ...], maps: SteeringMaps | None, strengths: Sequence[float], attribute: str
    ) -> None:
        for kind, prompts in self.prompts.items():
            records = evaluate_texts(
                self.lm, {key[1]: maps}, attribute, prompts, strengths=strengths, judge=judge_of(attribute),
                words=f"{NOTES['friendly']} ",
            )  # fmt: skip
            for one in records:
                known = dict(zip(FIELDS, (*key, one.strength, kind, one.prompt), strict=False))
                self.rows.append({**known, "support": maps.support if maps else "", **one.scores})

    def _save(self) -> None:
        self.options.out.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(
                {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in self.rows
            )
        self.rows = list(csv.DictReader(self.path.open()))

    def report(self) -> None:
        """Write the tables of all parts that have rows; of the others, and in words, what was there stays."""
        path, lines = self.options.out / "words.md", list[str]()
        sections = sections_in(path)
        for part, title in TITLES.items():
            rows = [row for row in self.rows if row["part"] == part]
            if rows:
                sections[title] = tables(part, rows)
        for title in (*TITLES.values(), SAYS):
            if title in sections:
                lines += [f"## {title}", "", *sections[title], *([""] if title != SAYS else [])]
        about = (
            f"{self.options.prompts} held-out prompts of each kind (a plain sentence; a plain and a rude one), 32 "
            "sampled tokens; value [95% interval over prompts and seeds]. Rude and friendly: share of texts with a "
            "word of that tone. Perplexity: of each text by itself under the unsteered model, geometric mean. At equal "
            f"quality: the strength of {', '.join(f'{one:g}' for one in STRENGTHS)} with the fewest rude texts whose "
            f"perplexity is up to {QUALITY:g} times the unsteered model's on the same prompts."
        )
        write(path, "Language models: from rude to friendly", about, lines)


def methods(bench: Bench) -> None:
    bench.judge("methods", "words in the prompt", None)
    for seed in range(bench.options.seeds):
        for method in METHODS:
            bench.judge("methods", method, bench.maps(method, 32, seed), seed=seed)
        inverse = bench.maps("LinEAS", 32, seed, attribute="rude").inverse()
        bench.judge("methods", "inverse of rude (LinEAS)", inverse, seed=seed)


def sizes(bench: Bench) -> None:
    for size in (8, 32, 128):
        for seed in range(bench.options.seeds):
            for method in ("LinEAS", "ITI-c", "Lin-AcT"):
                bench.judge("sizes", method, bench.maps(method, size, seed), size=size, seed=seed, strengths=FEW)


def layers(bench: Bench) -> None:
    for modules in ("norms", LATER, "post-norms", "attention", "mlps"):
        for method in ("LinEAS", "ITI-c"):
            maps = bench.maps(method, 32, 0, modules)
            bench.judge("layers", method, maps, modules=modules, strengths=FEW)


def sparsity(bench: Bench) -> None:
    bench.judge("sparsity", "LinEAS, dense", bench.maps("LinEAS", 32, 0), strengths=FEW)
    for l1 in (1e-4, 3e-4, 1e-3, 3e-3):
        maps = bench.maps("LinEAS", 32, 0, l1=l1, group_lasso=l1 / 10)
        bench.judge("sparsity", f"LinEAS, l1 {l1:g}", maps, strengths=FEW)


def two(bench: Bench) -> None:
    """Two attributes at once, each judged."""
    for seed in range(bench.options.seeds):
        friendly, formal = (bench.maps("LinEAS", 32, seed, attribute=one) for one in ("friendly", "formal"))
        for name, maps in (("friendly", friendly), ("formal", formal), ("friendly + formal", friendly + formal)):
            for attribute in ("friendly", "formal"):
                bench.judge(
                    "two", f"{name}, judged as {attribute}", maps, attribute=attribute, seed=seed, strengths=HALVES
                )


PARTS: dict[str, Callable[[Bench], None]] = {
    "methods": methods, "sizes": sizes, "layers": layers, "sparsity": sparsity, "two": two, "table": lambda bench: None,
}  # fmt: skip
SAYS = "What it says"
"""The section that somebody writes."""
TITLES = {
    "methods": "Ways to steer, 32 sentences, all norms",
    "sizes": "How many sentences",
    "layers": "Which activations, one training seed",
    "sparsity": "Sparsity against effect, one training seed",
    "two": "Two attributes (rude and friendly stand for casual and formal where it is judged as formal)",
}
