"""The table of the paper's experiments: what was measured, beside what was printed."""

from __future__ import annotations

from collections.abc import Sequence

from linea_diffusion.evaluation.comparison import comparison_markdown, interval_text
from linea_diffusion.evaluation.records import Record, summarise

from .workbench import table

SHOWN = {
    "clip_style_probability": "P(style)",
    "clip_style_cosine": "CLIP, style or object",
    "clip_prompt_cosine": "CLIP, content",
    "similarity_to_unsteered": "like strength 0",
}
"""Figure -> its head in the table."""
PRINTED_REMOVAL = (
    ("ITI-c (mean shift)", "0.19", "0.24"),
    ("Lin-AcT", "0.18", "0.45"),
    ("LinEAS", "0.18", "0.66"),
)
ABOUT_REMOVAL = (
    "Printed in LinEAS (arXiv 2503.10679): 15 concepts removed from SDXL-DMD2 in one step at strength 1. CLIP is the raw "
    "cosine with the concept, lower is better; likeness is by DINOv2-small, ours is by CLIP, so that only ranks compare."
)
PRINTED_STYLES = (("Lin-AcT", "0.12 -> 0.95", "0.80"),)
ABOUT_STYLES = (
    "Printed in Linear-AcT (arXiv 2410.23054): six styles, SDXL-Lightning and FLUX.1-schnell in four steps, 2048 captions. "
    "P(style) is CLIP's zero-shot probability of the style's text, without -> with steering; content is the similarity "
    "with the prompt, of which so much is kept."
)


def lines(records: Sequence[Record], *, removal: bool) -> list[str]:
    """The whole table of one number of steps: means over concepts, the printed figures, and each concept by itself."""
    return [
        *_measured(records),
        "",
        *(_printed_removal() if removal else _printed_styles()),
        "",
        "Each concept by itself, at equal amount of it, and how evenly dials turn:",
        "",
        comparison_markdown(records).rstrip(),
    ]


def _measured(records: Sequence[Record]) -> list[str]:
    """Every method at strength 0 and 1, over all prompts of all concepts."""
    pooled = [
        Record("all", one.method, one.strength, f"{one.style}: {one.prompt}", one.scores, one.seed) for one in records
    ]
    entries = {(one["method"], one["strength"]): one for one in summarise(pooled)}
    rows = []
    for method in dict.fromkeys(record.method for record in records):
        before, after = entries[method, 0], entries[method, 1]
        cells = [f"{before[name][0]:.3f} -> {after[name][0]:.3f}" for name in list(SHOWN)[:3]]
        kept = after["clip_prompt_cosine"][0] / before["clip_prompt_cosine"][0]
        rows.append([method, *cells, interval_text(after["similarity_to_unsteered"]), f"{kept:.2f}"])
    return table(["measured: method", *SHOWN.values(), "content kept"], rows)


def _printed_styles() -> list[str]:
    return [ABOUT_STYLES, "", *table(["printed: method", "P(style)", "content kept"], PRINTED_STYLES)]


def _printed_removal() -> list[str]:
    return [
        ABOUT_REMOVAL,
        "",
        *table(["printed: method", "CLIP, object", "like strength 0, by DINOv2-small"], PRINTED_REMOVAL),
    ]
