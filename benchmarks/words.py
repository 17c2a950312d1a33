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

import numpy as np

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
from linea_diffusion.evaluation.texts import evaluate_texts
from linea_diffusion.scoring.resampling import mean_interval
from linea_diffusion.shapeland.wordland.grammar import write_prompts, write_sentences
from linea_diffusion.shapeland.wordland.judge import judge_of
from linea_diffusion.shapeland.wordland.vocabulary import NOTES

from .workbench import RESULTS, add_shared, table, write

STRENGTHS = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
FEW = (0.0, 1.0, 1.5)
"""Where the other questions than that of methods are asked."""
NORMS, ITERATIONS = "norms", 100
SPARSE = {"l1": 3e-4, "group_lasso": 3e-5}
"""Weights of the paper's penalties, weighed against the mean over places."""
FIGURES = ("truth_source", "truth_target", "truth_topic", "truth_grammar", "perplexity", "distinct_2")
FIELDS = ("part", "method", "modules", "size", "seed", "strength", "kind", "prompt", "support", *FIGURES)
LARGEST = 1.1
"""Perplexity, as a multiple of the unsteered model's, up to which texts count as equally good."""


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


def sentences(attribute: str, other: str, kind: str, size: int, seed: int) -> Concept:
    """A concept of so many sentences on each side; the seed's own."""
    sides = [tuple(write_sentences(size, 2 * seed + side, **{kind: one})) for side, one in ((0, other), (1, attribute))]
    return Concept(attribute, *sides, f"a {attribute} text", f"a {other} text")


def lineas(lm: Any, concept: Concept, config: Any) -> SteeringMaps:
    return train_steering_maps(lm, concept, config)


METHODS: dict[str, tuple[Callable[..., SteeringMaps], dict[str, Any]]] = {
    "LinEAS": (lineas, {}),
    "LinEAS, sparse": (lineas, SPARSE),
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

    def maps(self, method: str, size: int, seed: int, modules: str = NORMS, **changes: Any) -> SteeringMaps:
        """Of the concept friendly, learned or found in the work folder."""
        name = "-".join(map(str, (method, size, seed, modules, *changes.values()))).replace(" ", "")
        folder = self.options.work / name
        if folder.is_dir():
            return SteeringMaps.from_pretrained(folder)
        fit, settings = METHODS[method]
        settings = {**settings, **changes, "target_modules": modules, "seed": seed}
        own = {"strengths": (1.0,), "iterations": self.options.iterations, "lr": 0.01} if fit is lineas else {}
        concept = sentences("friendly", "rude", "tone", size, seed)
        maps = fit(self.lm, concept, recipe_for(self.lm, concept, **{**own, **settings}))
        maps.save_pretrained(folder)
        print(f"{name}: {maps.support:.3f} of {maps.size} numbers", flush=True)
        return maps

    def judge(
        self, part: str, method: str, maps: SteeringMaps | None, *, modules: str = NORMS, size: int = 32, seed: int = 0,
        strengths: Sequence[float] = STRENGTHS, attribute: str = "friendly",
    ) -> None:  # fmt: skip
        """Add the rows of a method that are not there yet."""
        key = (part, method, modules, str(size), str(seed))
        if any((one["part"], one["method"], one["modules"], one["size"], one["seed"]) == key for one in self.rows):
            return
        for kind, prompts in self.prompts.items():
            records = evaluate_texts(
                self.lm, {method: maps}, attribute, prompts, strengths=strengths, judge=judge_of(attribute),
                words=f"{NOTES['friendly']} ",
            )  # fmt: skip
            for one in records:
                known = dict(zip(FIELDS, (*key, one.strength, kind, one.prompt), strict=False))
                self.rows.append({**known, "support": maps.support if maps else "", **one.scores})
        self.options.out.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(
                {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in self.rows
            )
        self.rows = list(csv.DictReader(self.path.open()))

    def report(self) -> None:
        """Write the tables of all parts that have rows."""
        lines: list[str] = []
        for part, title in TITLES.items():
            rows = [row for row in self.rows if row["part"] == part]
            if rows:
                lines += [f"## {title}", "", *_tables(rows), ""]
        about = (
            f"{self.options.prompts} held-out prompts of each kind (a plain sentence; a plain and a rude one), 32 "
            "sampled tokens; value [95% interval over prompts and seeds]. Rude and friendly: share of texts with a "
            "word of that tone. Perplexity: of each text by itself under the unsteered model, geometric mean. At equal "
            f"quality: the strength of {', '.join(f'{one:g}' for one in STRENGTHS)} with the fewest rude texts whose "
            f"perplexity is up to {LARGEST:g} times the unsteered model's on the same prompts."
        )
        write(self.options.out / "words.md", "Language models: from rude to friendly", about, lines)


def _tables(rows: list[dict[str, str]]) -> list[str]:
    head = [
        "method",
        "prompts",
        "strength",
        "rude",
        "friendly",
        "topic kept",
        "grammar",
        "perplexity",
        "distinct-2",
        "support",
    ]
    body: list[list[str]] = []
    for name in dict.fromkeys(_name(row) for row in rows):
        for kind in ("plain", "rude"):
            group = [row for row in rows if _name(row) == name and row["kind"] == kind]
            at = {
                s: [row for row in group if float(row["strength"]) == s] for s in {float(r["strength"]) for r in group}
            }
            limit = LARGEST * _perplexity(at[0.0])
            good = [s for s in at if s > 0 and _perplexity(at[s]) <= limit]
            best = min(good, key=lambda s: (_mean(at[s], "truth_source"), s)) if good else None
            for label, strength in (("1", 1.0), ("equal quality", best)):
                if strength is None:
                    body.append([name, kind, "none at equal quality", *["-"] * 7])
                elif label == "1" or strength != 1.0:
                    body.append(
                        _row(
                            name,
                            kind,
                            at[strength],
                            f"{strength:g}"
                            + (", equal quality" if label != "1" else "")
                            + (" (also at equal quality)" if label == "1" and best == 1.0 else ""),
                        )
                    )
    return table(head, body)


def _row(name: str, kind: str, rows: list[dict[str, str]], label: str) -> list[str]:
    def shown(figure: str) -> str:
        pairs = [(float(row[figure]), row["prompt"], int(row["seed"])) for row in rows if row[figure]]
        values, prompts, seeds = zip(*pairs, strict=True)
        several = list(seeds) if len(set(seeds)) > 1 else None
        return "{:.2f} [{:.2f}, {:.2f}]".format(*mean_interval(np.array(values), list(prompts), several))

    support = rows[0]["support"]
    figures = [shown(one) for one in ("truth_source", "truth_target", "truth_topic", "truth_grammar")]
    distinct = f"{_mean(rows, 'distinct_2'):.2f}"
    return [
        name,
        kind,
        label,
        *figures,
        f"{_perplexity(rows):.2f}",
        distinct,
        f"{float(support):.2f}" if support else "-",
    ]


def _name(row: dict[str, str]) -> str:
    more = {"sizes": f", N = {row['size']}", "layers": f", {row['modules']}"}
    return row["method"] + more.get(row["part"], "")


def _mean(rows: list[dict[str, str]], figure: str) -> float:
    return float(np.mean([float(row[figure]) for row in rows if row[figure]]))


def _perplexity(rows: list[dict[str, str]]) -> float:
    return float(np.exp(np.mean([np.log(float(row["perplexity"])) for row in rows if row["perplexity"]])))


def methods(bench: Bench) -> None:
    bench.judge("methods", "words in the prompt", None)
    for seed in range(bench.options.seeds):
        for method in METHODS:
            bench.judge("methods", method, bench.maps(method, 32, seed), seed=seed)
    bench.judge("methods", "inverse of rude (LinEAS)", _inverse(bench))


def _inverse(bench: Bench) -> SteeringMaps:
    """What undoes maps that were learned from friendly to rude."""
    folder = bench.options.work / "rude"
    if not folder.is_dir():
        concept = sentences("rude", "friendly", "tone", 32, 0)
        settings = {"strengths": (1.0,), "iterations": bench.options.iterations, "lr": 0.01, "target_modules": NORMS}
        train_steering_maps(bench.lm, concept, recipe_for(bench.lm, concept, **settings)).save_pretrained(folder)
    return SteeringMaps.from_pretrained(folder).inverse()


def sizes(bench: Bench) -> None:
    for size in (8, 32, 128):
        for method in ("LinEAS", "ITI-c", "Lin-AcT"):
            bench.judge("sizes", method, bench.maps(method, size, 0), size=size, strengths=FEW)


def layers(bench: Bench) -> None:
    for modules in ("norms", r".*\.layers\.[23]\..*norm", "post-norms", "attention", "mlps"):
        for method in ("LinEAS", "ITI-c"):
            maps = bench.maps(method, 32, 0, modules)
            bench.judge("layers", method, maps, modules=modules, strengths=FEW)


def sparsity(bench: Bench) -> None:
    for l1 in (1e-4, 1e-3, 3e-3):
        maps = bench.maps("LinEAS", 32, 0, l1=l1, group_lasso=l1 / 10)
        bench.judge("sparsity", f"LinEAS, l1 {l1:g}", maps, strengths=FEW)


def two(bench: Bench) -> None:
    """Two attributes at once, each judged."""
    friendly, folder = bench.maps("LinEAS", 32, 0), bench.options.work / "formal"
    if not folder.is_dir():
        concept = sentences("formal", "casual", "register", 32, 0)
        settings = {"strengths": (1.0,), "iterations": bench.options.iterations, "lr": 0.01, "target_modules": NORMS}
        train_steering_maps(bench.lm, concept, recipe_for(bench.lm, concept, **settings)).save_pretrained(folder)
    formal = SteeringMaps.from_pretrained(folder)
    for name, maps in (("friendly", friendly), ("formal", formal), ("friendly + formal", friendly + formal)):
        for attribute in ("friendly", "formal"):
            bench.judge("two", f"{name}, judged as {attribute}", maps, attribute=attribute, strengths=FEW)


PARTS: dict[str, Callable[[Bench], None]] = {
    "methods": methods, "sizes": sizes, "layers": layers, "sparsity": sparsity, "two": two, "table": lambda bench: None,
}  # fmt: skip
TITLES = {
    "methods": "Ways to steer, 32 sentences, all norms",
    "sizes": "How many sentences",
    "layers": "Which activations",
    "sparsity": "Sparsity against effect",
    "two": "Two attributes (rude and friendly stand for casual and formal where it is judged as formal)",
}
