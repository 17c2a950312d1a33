"""The table of `judge`: each style, means over styles, and what the first method has over the others."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from linea_diffusion.scoring.resampling import (
    MeasuredDial,
    Samples,
    dial_samples,
    interval,
    paired_differences,
    point_samples,
)
from linea_diffusion.shapeland.styles import STYLES

from .workbench import results_of, table, write

CHOSEN_ON = ("neon", "watercolor", "mosaic")
"""Styles that settings were chosen on; the others report."""
KEPT = ("object at 0.85", "colour at 0.85", "object at 0.95", "colour at 0.95", "area of colour")
TURNS = ("most", "largest step", "step of a picture", "spearman", "gap deviation")
POINT = ("amount", "object", "colour")
MET = ("object at its amount", "colour at its amount")

Dials = Mapping[tuple[str, str], MeasuredDial]
"""(method, style) -> what its pictures show."""
Numbers = Callable[[str, str], Samples | None]
"""Of a method and a style, where there is something."""


def write_table(everything: Sequence[Any], options: argparse.Namespace, call: Mapping[str, Any]) -> None:
    """Write the table of all that is judged.

    Args:
        everything: `Judged` of `judge`.
        options: of the command line.
        call: arguments of the pipeline's calls.
    """
    dials = _dials(everything)
    methods = [method for method in options.methods if any(method == known for known, _ in dials)]
    styles = [style for style in options.styles if any(style == known for _, known in dials)]
    lines, numbers = _notes(everything, options), _numbers(dials, options.methods[0])
    for title, chosen in (
        ("Styles that report", [style for style in styles if style not in CHOSEN_ON]),
        ("Styles that settings were chosen on", [style for style in styles if style in CHOSEN_ON]),
    ):
        if chosen:
            lines += ["", f"## {title}: {', '.join(map(_marked, chosen))}"]
            if len(chosen) > 1:
                lines += _section("Mean over styles", numbers, methods, chosen)
            for style in chosen:
                lines += _section(_marked(style), numbers, methods, [style])
    kind = (
        ""
        if (options.call, options.set, options.calibrated) == ("embedded", "held-out", False)
        else "_".join(["", options.call, options.set, *(["calibrated"] if options.calibrated else [])])
    )
    out = options.out or results_of(options.model, f"judge{kind}.md")
    write(out, f"Ways to steer at equal amount of style, `{options.model}`", _about(options, call), lines)


def _dials(everything: Sequence[Any]) -> Dials:
    """Pictures of all seeds together, where all of them are there."""
    dials = {}
    for method, style in dict.fromkeys((judged.method, judged.style) for judged in everything):
        parts = [judged for judged in everything if (judged.method, judged.style) == (method, style)]
        figures = [[part.figure(f"truth_{name}") for part in parts] for name in ("amount", "object", "color")]
        there = [number for number in range(len(parts)) if figures[0][number] is not None]
        if there:
            amount, objects, colors = (np.concatenate([figure[number] for number in there]) for figure in figures)
            prompts = [prompt for number in there for prompt in parts[number].pictures[0]]
            seeds = [parts[number].seed for number in there for _ in parts[number].pictures[0]]
            dials[method, style] = MeasuredDial(
                parts[0].strengths, amount, {"object": objects, "colour": colors}, prompts,
                seeds if len(there) > 1 else None,
            )  # fmt: skip
    return dials


def _about(options: argparse.Namespace, call: Mapping[str, Any]) -> str:
    noises = "noise of training" if options.set == "training" else f"{options.noises} noises"
    arguments = ", ".join(f"{key}={value}" for key, value in call.items())
    return (
        f"{options.call} call ({arguments}), {options.prompts} {options.set} prompts x {noises}, training seeds "
        f"{', '.join(map(str, options.seeds))}, {options.positions} strengths from 0 to 1"
        f"{' on the calibrated dial' if options.calibrated else ''}; judged by the truth classifier; value [95% "
        "bootstrap interval over prompts and training seeds]."
    )


def _notes(everything: Sequence[Any], options: argparse.Namespace) -> list[str]:
    missing = sorted({f"{j.method} {j.style}-{j.seed}" for j in everything if j.figure("truth_amount") is None})
    return [
        "at 0.85: share of pictures with the right object (colour) where the mean amount of style first reaches .85, "
        "between strengths linearly; in brackets, where it never does, the most that it reaches. Area of colour: mean "
        "share with the right colour over all amounts from 0 to .95; amounts that are not reached count 0. Largest "
        "step: of the mean amount, and median over pictures of each picture's, as a share of the whole rise (even: "
        f"{1 / (options.positions - 1):.3g}). Spearman: strength and amount of each picture, mean. Gap deviation: "
        "standard deviation of the mean amount's steps over their mean. Styles marked \\* do not show the colour: they "
        "are not in means of colour.",
        *(["", f"Not judged: {', '.join(missing)}."] if missing else []),
    ]


def _marked(style: str) -> str:
    return style if STYLES[style].shows_color else f"{style}\\*"


def _section(title: str, numbers: Sequence[Numbers], methods: Sequence[str], styles: Sequence[str]) -> list[str]:
    """Tables of one style, or of means over styles."""
    own, points, over = numbers
    first, others = methods[0], methods[1:]
    return [
        *_table(f"{title}: what is kept", own, methods, styles, KEPT),
        *_table(f"{title}: how the dial turns", own, methods, styles, TURNS),
        *_table(f"{title}: methods of one point", points, methods, styles, POINT),
        *_table(f"{title}: {first} minus the method, paired", over, others, styles, KEPT, some=True),
        *_table(f"{title}: {first} minus the method, how the dial turns", over, others, styles, TURNS[1:], some=True),
        *_table(f"{title}: {first} minus the method, at its one amount", over, others, styles, MET, some=True),
    ]


def _numbers(dials: Dials, first: str) -> tuple[Numbers, Numbers, Numbers]:
    """Figures of a method of several positions, of one, and of the first method minus it; None where there are none."""

    @cache
    def own(method: str, style: str) -> Samples | None:
        dial = dials.get((method, style))
        return dial_samples(dial) if dial is not None and dial.turns else None

    @cache
    def points(method: str, style: str) -> Samples | None:
        dial = dials.get((method, style))
        return None if dial is None or dial.turns else point_samples(dial)

    @cache
    def over(method: str, style: str) -> Samples | None:
        dial, other = dials.get((first, style)), dials.get((method, style))
        return None if dial is None or other is None or not dial.turns else paired_differences(dial, other)

    return own, points, over


def _table(
    title: str, numbers: Numbers, methods: Sequence[str], styles: Sequence[str], figures: Sequence[str],
    *, some: bool = False,
) -> list[str]:  # fmt: skip
    rows = []
    for method in methods:
        found = {style: samples for style in styles if (samples := numbers(method, style)) is not None}
        if found and figures[0] in next(iter(found.values())):
            cells = [_cell(found, figure, styles, some) for figure in figures]
            rows.append([method, *cells])
    return ["", f"### {title}", "", *table(["method", *figures], rows)] if rows else []


def _cell(found: Mapping[str, Samples], figure: str, styles: Sequence[str], some: bool) -> str:
    """The mean over styles; `some`: over those where it is known, and how many they are."""
    wanted = [style for style in styles if "colour" not in figure or STYLES[style].shows_color]
    if not wanted and len(styles) == 1:
        wanted = list(styles)
    known = [style for style in wanted if style in found and not math.isnan(found[style][figure][0])]
    if not known or (len(known) < len(wanted) and not some):
        if len(wanted) == 1 and wanted[0] in found and "most" in found[wanted[0]] and not some:
            return f"- ({found[wanted[0]]['most'][0]:.2f})"
        return f"- ({len(known)} of {len(wanted)} styles)" if len(wanted) > 1 else "-"
    with np.errstate(invalid="ignore"):
        value, low, high = interval(np.mean([found[style][figure] for style in known], axis=0))
    some_of = f" ({len(known)} of {len(wanted)} styles)" if len(known) < len(wanted) else ""
    sign = "+" if some else ""
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]{some_of}"
