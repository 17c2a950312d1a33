"""Options that commands share: each block of them is a dataclass, which knows what to do with them."""

from __future__ import annotations

import ast
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import LineaError, short
from ...steering.preset_names import presets_help
from . import checks
from .machines import Machine, device_of, dtype_of

if TYPE_CHECKING:
    from ...pipelines.language.language_model import LinEASLanguageModel
    from ...pipelines.pipeline import LinEASDiffusionPipeline
    from ...scoring.clip_scorer import ClipScorer

MODEL_HELP = (
    "shapeland-unet, shapeland-dit or, for texts, wordland-lm (embedded); a folder of diffusers or transformers, a Hub "
    "id, or a .safetensors or .ckpt file (with the model_index.json of its kind beside it, or what diffusers takes it "
    "for)."
)
Model = Annotated[str, typer.Option(help=MODEL_HELP)]
Steps = Annotated[
    int | None,
    typer.Option(help="Denoising steps; the model's own default when left out.", callback=checks.at_least(1)),
]
Guidance = Annotated[
    float | None, typer.Option(help="Guidance scale; the model's own default when left out.", callback=checks.guidance)
]
Modules = Annotated[
    list[str] | None,
    typer.Option(help=f"What is steered; may be repeated. A preset: {presets_help()}", callback=checks.patterns),
]
Plots = Annotated[
    str | None,
    typer.Option(help="Also the report's plots as files in OUT/plots: pdf, svg or png.", callback=checks.plots),
]
Clip = Annotated[
    str | None,
    typer.Option(
        help="An open_clip architecture such as ViT-L-14-quickgelu (with --clip-weights openai), a folder, a Hub id. "
        "When left out: shapeland-clip, for pictures of embedded models alone."
    ),
]
ClipWeights = Annotated[str | None, typer.Option(help="open_clip tag or checkpoint file of --clip.")]


@dataclass(frozen=True)
class Call:
    """How the base pipeline is called."""

    steps: Steps = None
    guidance: Guidance = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What --steps and --guidance give the base pipeline; nothing that was left out."""
        return without_none(num_inference_steps=self.steps, guidance_scale=self.guidance)


@dataclass(frozen=True)
class PromptedCall(Call):
    """How the base pipeline is called, and what pictures shall not show."""

    negative_prompt: Annotated[
        str | None, typer.Option(help="What pictures shall not show; wants a guidance scale above 1.")
    ] = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What the options give the base pipeline; nothing that was left out."""
        return super().arguments | without_none(negative_prompt=self.negative_prompt)


@dataclass(frozen=True)
class Seeded:
    """The noise."""

    seed: Annotated[int, typer.Option(help="Seeds all noise.", callback=checks.seed)] = 0


@dataclass(frozen=True)
class Scoring:
    """The CLIP that scores."""

    clip: Clip = None
    clip_weights: ClipWeights = None
    clip_set: Annotated[
        list[str],
        typer.Option(
            help="KEY=VALUE of `ClipScorer`: dtype, batch_size, background (of pictures with transparency); and for a "
            "bare checkpoint file quick_gelu, mean, std, interpolation, resize_mode. May be repeated."
        ),
    ] = field(default_factory=list)

    def scorer(self, device: str, model: str) -> ClipScorer:
        """The CLIP of --clip and --clip-weights, with the settings of --clip-set, for pictures of a model.

        Raises:
            LineaError: no such CLIP, or none is named and the embedded one does not know such pictures.
        """
        from ...scoring.fitting import clip_for

        clip = clip_for(self.clip, model)
        from ...scoring.clip_scorer import ClipScorer

        keys = ("dtype", "batch_size", "quick_gelu", "mean", "std", "interpolation", "resize_mode", "background")
        settings = {
            key: dtype_of(text) if key == "dtype" else literal(text)
            for key, text in key_values("--clip-set", self.clip_set, keys)
        }
        return ClipScorer(clip, self.clip_weights, device=device_of(device), **settings)


@dataclass(frozen=True)
class Session(Machine, Seeded, PromptedCall):
    """Calls of a pipeline on a machine."""

    def load(self, model: str) -> LinEASDiffusionPipeline:
        """The pipeline of --model, which takes the arguments of the calls.

        Raises:
            LineaError: it does not.
        """
        from ...pipelines.choices.calls import check_call

        pipe = super().load(model)
        check_call(pipe, self.arguments)
        return pipe

    def load_text(self, model: str) -> LinEASLanguageModel:
        """The language model of --model.

        Raises:
            LineaError: options for pictures.
        """
        if self.arguments:
            raise LineaError(
                f"got {', '.join(self.arguments)} for a language model: expected none, because they are for pictures"
            )
        return super().load_text(model)


@dataclass(frozen=True)
class ScoredSession(Session, Scoring):
    """Calls of a pipeline on a machine, and the CLIP that scores their pictures."""


def key_values(
    option: str, settings: Sequence[str], keys: Sequence[str] = (), form: str = "KEY=VALUE"
) -> Iterator[tuple[str, str]]:
    """The settings of an option that may be repeated, taken apart.

    Args:
        option: its name, for errors.
        settings: as they were typed.
        keys: what a key may be; anything when left out.
        form: what is expected, for errors.

    Raises:
        LineaError: a setting without a key or an equals sign, or with an unknown key.
    """
    form = f"{form} with KEY one of {', '.join(keys)}" if keys else form
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals) or (keys and key not in keys):
            raise LineaError(f"got {option} {short(setting)}: expected {form}")
        yield key, text


def without_none(**options: Any) -> dict[str, Any]:
    """The options that were not left out."""
    return {name: value for name, value in options.items() if value is not None}


def command_line() -> str:
    """What was typed, for reports."""
    return shlex.join(["linea", *sys.argv[1:]])


def literal(text: str) -> Any:
    """A number, True, None, a tuple ... as Python writes it; anything else is a word."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # all that it says of what is no literal
        return text
