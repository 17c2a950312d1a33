"""Options that commands share, and what they open."""

from __future__ import annotations

import ast
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..errors import LineaError, short
from . import checks

if TYPE_CHECKING:
    from ..concepts.concept import Concept
    from ..pipelines.pipeline import LinEASDiffusionPipeline
    from ..scoring.clip_scorer import ClipScorer

Model = Annotated[
    str,
    typer.Option(
        help="shapeland-unet or shapeland-dit (embedded), a diffusers folder, a Hub id, or a .safetensors or .ckpt "
        "file (with the model_index.json of its kind beside it, or what diffusers takes it for)."
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.", callback=checks.device)]
Dtype = Annotated[str, typer.Option(help="float32, float16 or bfloat16.", callback=checks.dtype)]
Seed = Annotated[int, typer.Option(help="Seeds all noise.", callback=checks.seed)]
Steps = Annotated[
    int | None,
    typer.Option(help="Denoising steps; the model's own default when left out.", callback=checks.at_least(1)),
]
Guidance = Annotated[
    float | None, typer.Option(help="Guidance scale; the model's own default when left out.", callback=checks.guidance)
]
Clip = Annotated[str, typer.Option(help="shapeland-clip, an open_clip architecture, a folder, or a Hub id.")]
ClipWeights = Annotated[str | None, typer.Option(help="open_clip tag or checkpoint file of --clip.")]
ClipSet = Annotated[
    list[str],
    typer.Option(
        help="KEY=VALUE of `ClipScorer`: dtype, batch_size, background (of pictures with transparency); and for a bare "
        "checkpoint file quick_gelu, mean, std, interpolation, resize_mode. May be repeated."
    ),
]
Calibrated = Annotated[
    bool | None,
    typer.Option(
        "--calibrated/--no-calibrated",
        help="Read strengths on the calibrated dial, or as shares of the way in activations; when left out, on the "
        "calibrated dial wherever maps have one.",
    ),
]
Steering = Annotated[list[str], typer.Option(help="Folder or Hub id of steering maps; may be repeated.")]


def open_pipeline(model: str, device: str, dtype: str) -> LinEASDiffusionPipeline:
    """The pipeline of --model, on --device in --dtype."""
    from ..pipelines.pipeline import LinEASDiffusionPipeline

    chosen = _dtype(dtype)
    if device == "cuda":
        from ..training.processes import own_device

        device = own_device()
    return LinEASDiffusionPipeline.from_pretrained(model, dtype=chosen).to(device)


def _dtype(name: str) -> Any:
    import torch

    if name not in checks.DTYPES:
        raise LineaError(f"got dtype {name!r}: expected one of {', '.join(checks.DTYPES)}")
    return getattr(torch, name)


def open_scorer(clip: str, weights: str | None, device: str, settings: list[str]) -> ClipScorer:
    """The CLIP of --clip and --clip-weights, with the settings of --clip-set."""
    from ..scoring.clip_scorer import ClipScorer

    known = ("dtype", "batch_size", "quick_gelu", "mean", "std", "interpolation", "resize_mode", "background")
    chosen = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or key not in known:
            raise LineaError(f"got --clip-set {short(setting)}: expected KEY=VALUE with KEY one of {', '.join(known)}")
        chosen[key] = _dtype(text) if key == "dtype" else literal(text)
    return ClipScorer(clip, weights, device=device, **chosen)


def open_steered(model: str, steering: list[str], device: str, dtype: str) -> LinEASDiffusionPipeline:
    """The pipeline of --model with every --steering loaded under its own name."""
    from ..maps.steering_maps import SteeringMaps

    loaded = {source: SteeringMaps.from_pretrained(source) for source in steering}
    pipe = open_pipeline(model, device, dtype)
    for source, maps in loaded.items():
        pipe.load_steering(maps, adapter_name=source)
    return pipe


def open_concept(
    name: str, source: Path | None, target: Path | None, template: str | None = None, levels: Sequence[str] = ()
) -> Concept:
    """A known concept, one from the files of --source and --target, or one from --source and --template."""
    from ..concepts.concept import Concept, concept_from_files, load_concept
    from ..concepts.prompt_files import prompt_lines

    if levels and template is None:
        raise LineaError(f"got --level {short(levels[0])} without --template: expected both, with --source")
    if source is None and target is None and template is None:
        return load_concept(name)
    if source is None or (target is None) == (template is None):
        options = {"--source": source, "--target": target, "--template": template}
        got = " and ".join(option for option, value in options.items() if value is not None)
        raise LineaError(
            f"got {got}: expected --source with either --target or --template, or none of them with a known concept"
        )
    if template is None:
        return concept_from_files(source, cast(Path, target), name=name)
    return Concept.from_template(prompt_lines(source), template, name=name, levels=_levels(levels))


def _levels(settings: Sequence[str]) -> dict[float, str]:
    """Strength -> template, from --level STRENGTH=TEMPLATE."""
    levels: dict[float, str] = {}
    for setting in settings:
        text, equals, template = setting.partition("=")
        strength = literal(text.strip())
        if not equals or not isinstance(strength, float | int):
            raise LineaError(
                f"got --level {short(setting)}: expected STRENGTH=TEMPLATE, such as 0.5='{{prompt}}, slightly neon'"
            )
        if strength in levels:
            raise LineaError(f"got --level {text.strip()} twice: expected one template for each strength")
        levels[strength] = template.strip()
    return levels


def command_line() -> str:
    """What was typed, for reports."""
    return shlex.join(["linea", *sys.argv[1:]])


def call_arguments(steps: int | None, guidance: float | None) -> dict[str, Any]:
    """What --steps and --guidance give the base pipeline; nothing that was left out."""
    given = {"num_inference_steps": steps, "guidance_scale": guidance}
    return {key: value for key, value in given.items() if value is not None}


def training_settings(settings: list[str], **given: Any) -> dict[str, Any]:
    """The checked settings of training: those given by options of their own, and those of --set KEY=VALUE."""
    from ..training.config import TrainingConfig

    chosen = {key: value for key, value in given.items() if value is not None}
    for setting in settings:
        key, equals, text = setting.partition("=")
        known = [field.name for field in fields(TrainingConfig)]
        if not equals or key not in known:
            raise LineaError(f"got --set {short(setting)}: expected KEY=VALUE with KEY one of {', '.join(known)}")
        chosen[key] = literal(text)
    TrainingConfig(**chosen)
    return chosen


def literal(text: str) -> Any:
    """A number, True, None, a tuple ... as Python writes it; anything else is a word."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # all that it says of what is no literal
        return text
