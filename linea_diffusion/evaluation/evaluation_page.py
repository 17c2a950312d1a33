"""The report of an evaluation: methods by strengths, with intervals over prompts and training seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..grids.report.fact_sections import facts_of_maps, flat_facts, support_section
from ..grids.report.inline_images import STORED, data_uri, is_small
from ..grids.report.page import CaptionedPlot, FactTable, Page, Picture, Section, Slider, Strip, Table
from ..grids.report.plots import Curve, curves_plot
from ..grids.report.score_sections import DRAWN as OF_SCORES
from ..scoring.figures import OF_PICTURES, OF_RECORDS, TEXTS, TRUTH
from .comparison import at_equal_amount, has_truth, interval_text, texts_at_equal_quality
from .evaluate import Pictures
from .records import Record, curves, rows_of, summarise, units_of
from .texts import Texts

if TYPE_CHECKING:
    from ..maps.steering_maps import SteeringMaps

_DRAWN = (*TRUTH, *OF_SCORES, *TEXTS)
"""Figures with a picture of their own."""


def evaluation_page(
    records: Sequence[Record],
    *,
    pictures: Pictures | None = None,
    texts: Texts | None = None,
    maps: Mapping[str, SteeringMaps] | None = None,
    facts: Mapping[str, Any] | None = None,
    command: str = "",
) -> Page:
    """What the report of an evaluation says.

    Args:
        records: of `evaluate` or of `evaluate_texts`, of one or several styles.
        pictures: a few of them, as `keep_first` keeps them.
        texts: a few of a language model's, likewise.
        maps: name -> maps, to show where in the model they act.
        facts: settings: model, scorer, seed...
        command: a command line that makes it again.
    """
    styles, methods = (list(dict.fromkeys(getattr(record, key) for record in records)) for key in ("style", "method"))
    strengths = sorted({record.strength for record in records})
    strips = _strips(pictures or {}, records, strengths)
    prompts = len({record.prompt for record in records})
    seeds = sorted({record.training_seed for record in records if record.training_seed is not None})
    trainings = f", {len(seeds)} trainings of each" if len(seeds) > 1 else ""
    return Page(
        title=f"Ways to steer: {', '.join(styles)}",
        lead=f"{len(methods)} methods at {len(strengths)} strengths on {prompts} held-out prompts{trainings}; "
        f"{'the same draws' if texts else 'one noise'} for all.",
        columns=[f"{strength:g}" for strength in strengths],
        strips=strips,
        dials=[Slider(strip.label, strip.note, [number]) for number, strip in enumerate(strips)],
        together=len({method for _, method, _, _ in pictures or {}}) or 1,
        small=all(is_small(image) for image in (pictures or {}).values()),
        pictures_note=f"{_shown(pictures or {}, records)} Under each: {OF_PICTURES[_main(records)].header}. {STORED}",
        sections=[
            *(_section(records, style, methods) for style in styles),
            *_texts(texts or {}, records),
            *support_section(maps or {}),
        ],
        facts=[
            FactTable(
                "Evaluation",
                [
                    *flat_facts(facts or {}),
                    ("methods", ", ".join(methods)),
                    ("prompts", str(prompts)),
                    ("training seeds", ", ".join(map(str, seeds)) or "unknown"),
                ],
            ),
            *facts_of_maps(maps or {}),
        ],
        command=command,
    )


def _texts(texts: Texts, records: Sequence[Record]) -> list[Section]:
    """What was written: a table for each style and prompt, the methods at all strengths under each other."""
    if not texts:
        return []
    tables = []
    for style, prompt in dict.fromkeys((style, prompt) for style, _, prompt, _ in texts):
        own = {key: text for key, text in texts.items() if (key[0], key[2]) == (style, prompt)}
        rows = [[method, f"{strength:g}", text] for (_, method, _, strength), text in own.items()]
        tables.append(Table(f"{style}: {prompt}", ["method", "strength", "continuation"], rows, keys=2))
    return [Section("What was written", _shown(texts, records), tables=tables)]


def _main(records: Sequence[Record]) -> str:
    return "truth_style" if has_truth(records) else "clip_style_probability"


def _shown(kept: Pictures | Texts, records: Sequence[Record]) -> str:
    """How many of the prompts have pictures or texts here, and how many have none."""
    what = "Texts" if all(isinstance(one, str) for one in kept.values()) else "Pictures"
    prompts = {(record.style, record.prompt) for record in records}
    left = len(prompts) - len({(style, prompt) for style, _, prompt, _ in kept})
    seeds = {record.training_seed for record in records} - {None}
    first = f" {what} are those of the first training seed." if len(seeds) > 1 else ""
    if not left:
        return f"Every prompt, the methods under each other.{first}"
    return (
        f"{len(prompts) - left} of {len(prompts)} prompts, the methods of each under each other; the other {left} are "
        f"left out here, but their figures are in all curves and tables.{first}"
    )


def _strips(pictures: Pictures, records: Sequence[Record], strengths: Sequence[float]) -> list[Strip]:
    """One row for each style, prompt and method that has pictures."""
    by_picture: dict[tuple[str, str, str, float], Record] = {}
    for record in records:
        by_picture.setdefault((record.style, record.method, record.prompt, record.strength), record)
    rows = dict.fromkeys((style, prompt, method) for style, method, prompt, _ in pictures)
    # Methods of one prompt stand together.
    order = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompt for _, prompt, _ in rows))}
    strips = []
    for style, prompt, method in sorted(rows, key=lambda row: order[row[1]]):
        cells = [_picture(pictures, by_picture, (style, method, prompt, strength)) for strength in strengths]
        strips.append(Strip(f"{prompt}: {method}", style, cells))
    return sorted(strips, key=lambda strip: list(dict.fromkeys(s.note for s in strips)).index(strip.note))


def _picture(
    pictures: Pictures, by_picture: Mapping[tuple[str, str, str, float], Record], key: tuple[str, str, str, float]
) -> Picture | None:
    if key not in pictures:
        return None
    (uri, width, height), record, (style, method, prompt, strength) = data_uri(pictures[key]), by_picture[key], key
    main = _main([record])
    beside = (main, "clip_prompt_cosine", "similarity_to_unsteered")
    scores = {OF_PICTURES[name].label: f"{record.scores[name]:.2f}" for name in beside}
    caption = f"{record.scores[main]:.2f}"
    alt = f"{prompt}, {style} by {method}, strength {strength:g}"
    return Picture(uri, alt, f"{strength:g}", strength, scores, caption, width, height)


def _section(records: Sequence[Record], style: str, methods: Sequence[str]) -> Section:
    """Curves and tables of one style."""
    names = [name for name in _DRAWN if all(name in record.scores for record in records if record.style == style)]
    figures = [_figure(records, style, methods, name) for name in names]
    text = "Mean over prompts (and training seeds, where there are several) with the 95% bootstrap interval over both."
    written = any("perplexity" in record.scores for record in records)
    tables = texts_at_equal_quality(records, style) if written else at_equal_amount(records, style)
    compared = [replace(table, title=f"{style}: {table.title}") for table in tables]
    return Section(style, text, figures, [*compared, _means(records, style, names)])


def _figure(records: Sequence[Record], style: str, methods: Sequence[str], name: str) -> CaptionedPlot:
    measured = {method: curves(records, style, method, name) for method in methods}
    most = max(len(strengths) for strengths, _ in measured.values())
    lines = []
    for method, (strengths, values) in measured.items():
        # Words are on or off: there is nothing between 0 and 1 to draw a line through.
        first = 1 if 2 == len(strengths) < most else 0
        if len(values):
            units = units_of(rows_of(records, style, method))
            lines.append(Curve(method, strengths[first:], values[:, first:], units))
    figure = OF_RECORDS[name]
    plot = curves_plot(
        lines, figure=figure.label, title=f"{style}: {name} against strength", size=(4.6, 3.2),
        bounds=(-0.03, 1.03) if figure.is_share else None,
    )  # fmt: skip
    return CaptionedPlot(plot, figure.header, figure.meaning)


def _means(records: Sequence[Record], style: str, names: Sequence[str]) -> Table:
    rows = []
    for entry in summarise([record for record in records if record.style == style]):
        cells = [interval_text(entry[name]) for name in names]
        rows.append([entry["method"], f"{entry['strength']:g}", *cells])
    heads = [OF_RECORDS[name].header for name in names]
    return Table(
        f"{style}: mean [95% interval over prompts and training seeds]", ["method", "strength", *heads], rows, keys=2
    )
