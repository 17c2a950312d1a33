"""The command that fits the dial of maps: calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import LineaError
from ..maps.facts import Facts
from .options import checks
from .options.next_steps import quoted, say_next
from .options.sessions import MODEL_HELP, ScoredSession
from .options.steering import Steered
from .options.texts import Texts
from .options.waiting import DryRun, waiting

if TYPE_CHECKING:
    from ..concepts.concept import Concept, StyleTexts
    from ..maps.steering_maps import SteeringMaps
    from ..training.calibration.measures import Measure


def _prompts_of(maps: SteeringMaps, options: Texts, source: Path | None) -> Sequence[str]:
    """What to calibrate on: the prompts of --source, of --concept, those that the maps carry, or their concept's."""
    from ..concepts.concept import load_concept
    from ..concepts.prompt_files import prompt_lines

    facts = Facts.of(maps.metadata)
    if source is not None:
        return prompt_lines(source)
    if options.concept is None and facts.source_prompts:
        return facts.source_prompts
    concept = load_concept(options.concept) if options.concept else _concept_of(maps)
    if concept is None:
        raise LineaError(
            "got maps that carry no prompts, and whose concept is not known here: expected --source with a file of "
            "prompts without the style, or --concept"
        )
    return concept.source


def _texts_of(maps: SteeringMaps, options: Texts) -> StyleTexts:
    """What pictures are measured against: --text, --concept, what the maps carry, or their concept's."""
    from ..grids.plans import texts_of

    concept = _concept_of(maps)
    texts = options.texts or texts_of(maps) or (concept.texts if concept else None)
    if texts is None:
        raise LineaError(
            "got maps that do not say what pictures of them are scored against: expected --text, or --by progress"
        )
    return texts


def _concept_of(maps: SteeringMaps) -> Concept | None:
    """The packaged concept that maps name, if there is one of that name."""
    from ..concepts.concept import list_concepts, load_concept

    name = Facts.of(maps.metadata).concept
    return load_concept(name) if name and name.replace(" ", "-") in list_concepts() else None


def calibrate(
    steering: Annotated[Path, typer.Argument(help="Folder of steering maps; the curve is stored there.")],
    *,
    source: Annotated[
        Path | None,
        typer.Option(help="Text file of prompts to calibrate on; those that the maps were learned from when left out."),
    ] = None,
    texts: Texts,
    by: Annotated[
        str,
        typer.Option(
            help="clip: the style that CLIP sees; progress: how far latents have gone, which needs no CLIP.",
            callback=checks.one_of("clip", "progress"),
        ),
    ] = "clip",
    points: Annotated[
        int,
        typer.Option(help="Strengths that are measured at most, more where it changes.", callback=checks.at_least(3)),
    ] = 17,
    model: Annotated[
        str | None, typer.Option(help=f"{MODEL_HELP} When left out: the one that the maps were learned on.")
    ] = None,
    dry_run: DryRun = False,
    session: ScoredSession,
) -> None:
    """Fit the dial of maps so that equal steps of strength look equal: what other commands use from then on.

    The curve is stored with the maps, and beside them as calibration.csv.
    """
    from ..scoring.tables import write_table
    from ..training.calibration.calibrate import calibrate, clip_measure
    from ..training.effort import picture_effort

    steered = Steered([str(steering)], model)
    (maps,) = steered.maps.values()
    prompts = _prompts_of(maps, texts, source)
    measure: Measure | Literal["progress"] = "progress"
    if by == "clip":
        measure = clip_measure(session.scorer(session.device, steered.base()), _texts_of(maps, texts))
    pipe = steered.open(session, load=False)
    seed = session.seed + 500
    efforts = [picture_effort(pipe, "calibrate", points * len(prompts), session.arguments)]
    with waiting(pipe, efforts, session.arguments, dry_run=dry_run):
        curve = calibrate(pipe, maps, measure, prompts, points=points, seed=seed, **session.arguments)
    maps.save_pretrained(steering)
    rows = [
        {"strength": strength, "style_share": value, "measure": curve["measure"], "seed": seed}
        for strength, value in zip(curve["strengths"], curve["values"], strict=True)
    ]
    write_table(rows, steering / "calibration.csv")
    typer.echo("strength  share of the style")
    for row in rows:
        typer.echo(f"{row['strength']:>8.3f}  {row['style_share']:.3f}")
    say_next(see=f"linea grid {quoted(prompts[0])} --steering {quoted(steering)}")
