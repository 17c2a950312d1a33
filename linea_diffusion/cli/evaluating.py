"""Commands that compare: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LineaError
from . import checks
from .options import (
    Calibrated,
    Clip,
    ClipSet,
    ClipWeights,
    Device,
    Dtype,
    Guidance,
    Model,
    Seed,
    Steps,
    call_arguments,
    command_line,
    open_pipeline,
    open_scorer,
)

if TYPE_CHECKING:
    from ..concepts.concept import Concept
    from ..evaluation.records import Record
    from ..maps.steering_maps import SteeringMaps
    from ..pipelines.pipeline import LinEASDiffusionPipeline
    from ..training.config import TrainingConfig

SHOWN = 3
"""Prompts of each style whose pictures are in the report."""


def evaluate(
    style: Annotated[list[str], typer.Option(help="Concept, by name or file; may be repeated.")],
    methods: Annotated[
        str, typer.Option(help="Names with commas, or folders of maps.")
    ] = "lineas,lin-act,gaussian-act,mean-shift,prompting",
    out: Annotated[Path, typer.Option(help="Folder for report.html, evaluation.csv, evaluation.md and maps/.")] = Path(
        "evaluation"
    ),
    prompts: Annotated[Path | None, typer.Option(help="Text file with one held-out prompt per line.")] = None,
    count: Annotated[int, typer.Option(help="How many held-out prompts.", callback=checks.at_least(1))] = 64,
    strengths: Annotated[str, typer.Option(help="The dial's positions.")] = "0,0.125,0.25,0.375,0.5,0.625,0.75,0.875,1",
    calibrated: Calibrated = None,
    model: Model = "shapeland-unet",
    steps: Steps = None,
    guidance: Guidance = None,
    clip: Clip = "shapeland-clip",
    clip_weights: ClipWeights = None,
    clip_set: ClipSet = [],  # noqa: B006
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Compare ways to steer on held-out prompts, with 95% intervals. Maps in OUT/maps are used, not fitted again."""
    from ..concepts.concept import load_concept
    from ..errors import make_folder
    from ..evaluation.comparison import comparison_markdown
    from ..evaluation.evaluate import Pictures, check_dial, evaluate, keep_first
    from ..evaluation.methods import check_method
    from ..evaluation.records import write_records
    from ..training.recipes import recipe_for

    concepts, positions = [load_concept(name) for name in style], checks.strengths(strengths)
    _refuse_removal(concepts, methods, prompts)
    asked = {concept.name: _prompts(concept, prompts, model, count) for concept in concepts}
    named = {Path(method).name: method for method in methods.split(",")}
    if len(named) != len(methods.split(",")):
        raise LineaError(f"got methods {methods!r}, of which two have the same name: expected different folder names")
    for method in named.values():
        if not Path(method).is_dir():
            check_method(method)
    check_dial(positions)
    make_folder(out)
    scorer, pipe = open_scorer(clip, clip_weights, device, clip_set), open_pipeline(model, device, dtype)
    records = []
    pictures: Pictures = {}
    shown: dict[str, SteeringMaps] = {}
    given = call_arguments(steps, guidance)
    facts = {"model": model, "strengths": positions, "noise from seed": seed + 1000, "scorer": scorer.name, **given}
    dials: dict[str, str] = {}
    for concept in concepts:
        fitted = {
            name: _maps(method, pipe, concept, recipe_for(pipe, concept, seed=seed), out / "maps" / concept.name)
            for name, method in named.items()
        }
        records += evaluate(
            pipe, fitted, concept.texts, asked[concept.name], strengths=positions, scorer=scorer,
            calibrated=calibrated, judge=_judge(model, concept.name), seed=seed + 1000,
            on_pictures=keep_first(pictures, concept.name, asked[concept.name][:SHOWN]), **given,
        )  # fmt: skip
        own = {f"{concept.name}, {name}": maps for name, maps in fitted.items() if maps is not None}
        shown |= own
        dials |= {name: maps.dial(calibrated).name for name, maps in own.items()}
        write_records(records, out / "evaluation.csv")
        (out / "evaluation.md").write_text(comparison_markdown(records), encoding="utf-8")
    _write_report(out / "report.html", records, pictures=pictures, maps=shown, facts={**facts, "strength": dials})
    typer.echo(comparison_markdown(records))
    typer.echo(f"mean [95% interval over prompts]; every picture is a line of {out / 'evaluation.csv'}")


def _write_report(path: Path, records: list[Record], **shown: Any) -> None:
    from ..evaluation.evaluation_page import evaluation_page
    from ..grids.report.page import write_report

    write_report(evaluation_page(records, command=command_line(), **shown), path)
    typer.echo(f"look at {path}\n")


def _refuse_removal(concepts: list[Concept], methods: str, prompts: Path | None) -> None:
    """Taking something out is seen on prompts that ask for it, and cannot be compared with asking in words."""
    from ..evaluation.methods import PROMPTING

    removals = [concept.name for concept in concepts if concept.kind == "object removal"]
    if removals and (prompts is None or PROMPTING in methods.split(",")):
        raise LineaError(
            f"got {removals[0]!r}, which takes something out of pictures: expected --prompts with a file whose prompts "
            f"ask for it, and methods that learn maps (--methods lineas,lin-act, without {PROMPTING!r})"
        )


def _maps(
    method: str, pipe: LinEASDiffusionPipeline, concept: Concept, config: TrainingConfig, work: Path
) -> SteeringMaps | None:
    from ..evaluation.methods import METHODS, fit
    from ..maps.steering_maps import SteeringMaps
    from ..training.iteration import facts_of

    if method not in METHODS and Path(method).is_dir():
        return SteeringMaps.from_pretrained(method)
    folder = work / method
    if folder.is_dir():
        return _as_asked(SteeringMaps.from_pretrained(folder), facts_of(pipe.base, concept, config), folder)
    maps = fit(method, pipe, concept, config)
    if maps is not None:
        maps.save_pretrained(folder)
    return maps


def _as_asked(maps: SteeringMaps, facts: dict[str, Any], folder: Path) -> SteeringMaps:
    """Maps that an earlier run left, if they are of this model, these prompts and this seed."""
    made, asked = (
        [known.get("base_model"), known.get("prompts_sha256"), known.get("training", {}).get("seed")]
        for known in (maps.metadata, facts)
    )
    if made != asked:
        raise LineaError(
            f"got maps in {str(folder)!r} of base model, prompts and seed {made}: expected {asked}; remove the folder, "
            "or choose another --out"
        )
    return maps


def _prompts(concept: Concept, file: Path | None, model: str, count: int) -> list[str]:
    """Prompts that the concept was not learned from."""
    from ..concepts.concept import list_concepts, load_concept
    from ..shapeland import MODELS

    if file is not None:
        from ..concepts.prompt_files import prompt_lines

        prompts = [prompt for prompt in prompt_lines(file) if prompt not in concept.source]
    elif model in MODELS:
        from ..shapeland.truth import held_out_prompts

        prompts = held_out_prompts(count)
    else:
        others = (load_concept(name).source for name in list_concepts("style", world="real"))
        prompts = list(dict.fromkeys(p for source in others for p in source if p not in concept.source))
    if not prompts:
        raise LineaError(f"got no prompt in {str(file)!r} that {concept.name!r} is not learned from: expected some")
    return prompts[:count]


def _judge(model: str, style: str) -> Any:
    from ..shapeland import MODELS
    from ..shapeland.styles import STYLES

    if model not in MODELS or style not in STYLES:
        return None
    from ..shapeland.truth import truth_judge

    return truth_judge(style)
