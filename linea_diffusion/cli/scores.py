"""The command that scores pictures made anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LineaError, make_folder
from .options.machines import Device
from .options.sessions import Scoring

if TYPE_CHECKING:
    from ..scoring.entries import Entry


def score(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Pictures, folders of PNG, JPEG and WebP pictures, or .jsonl files with file_name and prompt in each "
            "line; a folder's own metadata.jsonl is used, as that of a batch."
        ),
    ],
    *,
    text: Annotated[str | None, typer.Option(help="Text to compare with, such as: a picture in neon style.")] = None,
    neutral: Annotated[str, typer.Option(help="Text that --text is weighed against.")] = "a picture of something",
    prompt_key: Annotated[str, typer.Option(help="Where a line of a .jsonl file has the prompt.")] = "prompt",
    reference: Annotated[
        Path | None,
        typer.Option(help="Unsteered picture to compare with, or folder of them, one for each under the same name."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV or .jsonl file; CSV on standard output when left out.")] = None,
    scoring: Scoring,
    device: Device = "auto",
) -> None:
    """Score pictures made anywhere by CLIP.

    Figures: clip_style_cosine and clip_prompt_cosine (raw cosines), clip_score_style and clip_score_prompt
    (2.5*max(cosine, 0)), clip_style_probability (softmax of --text against --neutral), directional_similarity and
    similarity_to_unsteered (with --reference). Conventions stand beside the table, in NAME.columns.json. What lines of
    a .jsonl file say of seed, style and strength is in the table, too.
    """
    from ..concepts.concept import StyleTexts
    from ..scoring.entries import find_entries, score_entries, write_entries
    from ..scoring.figures import SCORES
    from ..scoring.formulas import mean_figures
    from ..scoring.tables import check_table_name

    entries = find_entries(images, prompt_key=prompt_key, reference=reference)
    if out:
        check_table_name(out)
        make_folder(out.parent)
    scorer = scoring.scorer(device, _model_of(entries) or EMBEDDED)
    texts = StyleTexts(text, text, neutral) if text else None
    scores = score_entries(entries, scorer, texts)
    write_entries(entries, scores, out)
    for name, mean in mean_figures(scores).items():
        typer.echo(f"{SCORES[name].header}: mean {mean:.5f}", err=out is None)


EMBEDDED = "shapeland-unet"
"""Whose pictures those are that do not say and are as small."""
_SMALL, _LOOKED_AT = 64, 100


def _model_of(entries: Sequence[Entry]) -> str | None:
    """The first model other than an embedded one that a picture names, or that made a picture larger than theirs."""
    from ..scoring.images.opening import opened
    from ..scoring.images.saving import read_record
    from ..shapeland import MODELS

    for entry in entries[:_LOOKED_AT]:
        model, large = "", False
        with suppress(LineaError):  # what is no picture is told when it is scored
            with opened(entry.image) as image:
                large = max(image.size) > _SMALL
            model = str(read_record(entry.image).get("model") or "")
        if model not in MODELS and (model or large):
            return model or f"no known model, such as {entry.image}"
    return None
