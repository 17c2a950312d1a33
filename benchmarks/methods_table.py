"""Methods side by side, from what `linea evaluate` wrote: one or several evaluation.csv.

    linea evaluate --style neon --methods lineas,lineas-paper,lin-act,gaussian-act,mean-shift,prompting \
        --strengths 0,0.1,0.2,0.25,0.5,0.75,1 --out runs/evaluation/neon
    python -m benchmarks methods_table runs/evaluation/*/evaluation.csv

writes results/methods.md and results/methods.csv (means and intervals at every strength).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from linea_diffusion.evaluation.comparison import comparison_markdown, interval_text
from linea_diffusion.evaluation.records import Record, curves, read_records, summarise
from linea_diffusion.scoring.figures import TRUTH
from linea_diffusion.scoring.statistics import at_content, bootstrap_interval, spearman
from linea_diffusion.shapeland.styles import STYLES

from .workbench import RESULTS, table, write

LEVELS = (0.95, 0.9, 0.8)
FIGURES = (*TRUTH, "clip_style_probability", "clip_style_cosine", "clip_prompt_cosine", "similarity_to_unsteered")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--methods", nargs="+", help="which, in this order; all when left out")


def main(options: argparse.Namespace) -> None:
    records = [record for file in options.files for record in read_records(file)]
    methods = options.methods or list(dict.fromkeys(record.method for record in records))
    records = sorted(
        (r for r in records if r.method in methods), key=lambda r: (methods.index(r.method), r.style, r.strength)
    )
    styles = list(dict.fromkeys(record.style for record in records))
    about = (
        "`linea evaluate`, `shapeland-unet`, training seed 0, 64 held-out prompts, one noise each, the same for all; "
        "mean [95% bootstrap interval over prompts]. truth_*: truth classifier; the others by "
        "shapeland-clip; docs/scores.md says what each is."
    )
    lines = [
        "## All styles together, at strength 1",
        "",
        *_together(records, methods, styles),
        "",
        "## The most style at equal content",
        "",
        "The largest mean amount of style that a method reaches at any strength up to 1 while the share of pictures "
        "with the right object and (where the style shows it) the right colour is at least so much; strengths between "
        "the measured ones by linear interpolation. This chooses the best strength for each method and style with the "
        "truth known, which no user can; a method whose strength 1 is far too strong is judged at a tenth of it.",
        "",
        *_equal_content(records, methods, styles),
        "",
        "## Each style",
        "",
    ]
    each = "\n".join(comparison_markdown([r for r in records if r.style == style]) for style in styles)
    title = "LinEAS and other ways to steer, `shapeland-unet`"
    write(RESULTS / "methods.md", title, about, [*lines, each.rstrip()])
    _write_summary(records)


def _together(records: list[Record], methods: list[str], styles: list[str]) -> list[str]:
    figures = (
        "truth_style",
        "truth_amount",
        "truth_object",
        "truth_color",
        "clip_prompt_cosine",
        "similarity_to_unsteered",
    )
    rows = []
    for method in methods:
        at_one = [r for r in records if r.method == method and r.strength == 1]
        cells = [interval_text(_by_prompt(at_one, figure)) for figure in figures]
        rho = []
        for style in styles:
            strengths, values = curves(records, style, method, "truth_amount")
            if len(strengths) > 2:
                rho.append(spearman(strengths, values))
        cells.append(interval_text(bootstrap_interval(np.mean(rho, axis=0))) if rho else "-")
        rows.append([method, *cells])
    return table(["method", *figures, "Spearman (truth_amount)"], rows)


def _by_prompt(records: list[Record], figure: str) -> tuple[float, float, float]:
    """Prompts are the independent units: a prompt's mean over the styles first."""
    values: dict[str, list[float]] = {}
    for record in records:
        values.setdefault(record.prompt, []).append(record.scores[figure])
    return bootstrap_interval(np.array([np.mean(v) for v in values.values()]))


def _equal_content(records: list[Record], methods: list[str], styles: list[str]) -> list[str]:
    rows = []
    for method in methods:
        for level in LEVELS:
            best = []
            for style in styles:
                strengths, amount = curves(records, style, method, "truth_amount")
                right = curves(records, style, method, "truth_object")[1]
                if STYLES[style].shows_color:
                    right = right * curves(records, style, method, "truth_color")[1]
                best.append(at_content(list(right.mean(axis=0)), list(amount.mean(axis=0)), level))
            if len(strengths) > 2:
                rows.append([method, f"{level:g}", *(f"{value:.2f}" for value in [*best, np.mean(best)])])
    return table(["method", "content kept", *styles, "mean"], rows)


def _write_summary(records: list[Record]) -> None:
    with (RESULTS / "methods.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = [f"{figure} {part}" for figure in FIGURES for part in ("mean", "low", "high")]
        writer.writerow(["style", "method", "strength", "prompts", *names])
        for entry in summarise(records):
            numbers = [f"{value:.4f}" for figure in FIGURES for value in entry[figure]]
            writer.writerow([entry["style"], entry["method"], entry["strength"], entry["prompts"], *numbers])
