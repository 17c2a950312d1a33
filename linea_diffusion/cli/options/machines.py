"""Options of the machine and the model on it: device, dtype, scheduler, LoRA."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import LineaError
from . import checks

if TYPE_CHECKING:
    from ...pipelines.language.language_model import LinEASLanguageModel
    from ...pipelines.pipeline import LinEASDiffusionPipeline

Device = Annotated[
    str,
    typer.Option(help="auto (cuda if there is one, else mps, else cpu), or cpu, cuda:1 ...", callback=checks.device),
]

Dtype = Annotated[
    str,
    typer.Option(
        help="float32, float16, bfloat16; auto: float32 on a CPU and for embedded models, else bfloat16, float16 "
        "where a device has no bfloat16.",
        callback=checks.dtype,
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="image or text: what the model makes; when left out, what its folder or its maps say.",
        callback=checks.one_of("image", "text"),
    ),
]
TEXT_MODEL = "wordland-lm"
"""The language model of commands that are told none."""


def makes_texts(task: str | None, model: str | None) -> bool:
    """Whether a command is about a language model, as --task says, or --model by its looks."""
    if task is not None:
        return task == "text"
    if model is None:
        return False
    from ...pipelines.language.loading import writes_texts

    return writes_texts(model)


RANDOM_HELP = "Or random-sdxl, random-sd3.5-medium, random-flux.1: real size, random weights, nothing to download."
"""Models that `bench.random_models` makes."""


@dataclass(frozen=True)
class Machine:
    """Where models run, in which numbers, and what they run with."""

    device: Device = "auto"
    dtype: Dtype = "auto"
    scheduler: Annotated[
        str | None,
        typer.Option(help="Another than the model's: a class of diffusers, or euler, euler-a, dpm++, unipc, ddim ..."),
    ] = None
    lora: Annotated[
        list[str], typer.Option(help="LoRA on the model: file, folder or Hub id, also with =SCALE; may be repeated.")
    ] = field(default_factory=list)

    def __post_init__(self) -> None:
        """What no model could use is refused before one is loaded."""
        if self.lora:
            from ...pipelines.choices.loras import split_lora

            for text in self.lora:
                split_lora(text)
        if self.scheduler is not None:
            from ...pipelines.choices.schedulers import scheduler_class

            scheduler_class(self.scheduler)

    def load(self, model: str) -> LinEASDiffusionPipeline:
        """The pipeline of --model; of several processes each takes its own GPU."""
        from ...pipelines.choices.loras import load_loras
        from ...pipelines.choices.schedulers import use_scheduler

        pipe = self.pipeline(model)
        if self.scheduler is not None:
            use_scheduler(pipe.base, self.scheduler)
        load_loras(pipe.base, self.lora)
        return pipe

    def load_text(self, model: str) -> LinEASLanguageModel:
        """The language model of --model.

        Raises:
            LineaError: options for pictures.
        """
        from ...pipelines.language.language_model import LinEASLanguageModel

        if self.scheduler is not None or self.lora:
            raise LineaError(
                "got --scheduler or --lora for a language model: expected neither, because they are for pictures"
            )
        silence_loading()
        device = device_of(self.device)
        return LinEASLanguageModel.from_pretrained(model, dtype=dtype_of(self.dtype, device, model)).to(device)

    def pipeline(self, model: str) -> LinEASDiffusionPipeline:
        """The pipeline as it comes."""
        from ...pipelines.pipeline import LinEASDiffusionPipeline

        silence_loading()
        device = device_of(self.device)
        pipe = LinEASDiffusionPipeline.from_pretrained(model, dtype=dtype_of(self.dtype, device, model)).to(device)
        pipe.set_progress_bar_config(leave=False, disable=None)  # none but on a terminal
        return pipe


def device_of(name: str) -> str:
    """The device of --device: of several processes each has its own GPU."""
    if name == "auto":
        from ...pipelines.choices.devices import fitting_device

        name = fitting_device()
    if name == "cuda":
        from ...training.state.processes import process_device

        return str(process_device())
    return name


def dtype_of(name: str, device: str = "cpu", model: str = "") -> Any:
    """The torch dtype of a name; of ``auto``, that which fits a model on a device.

    Raises:
        LineaError: none that models run in.
    """
    import torch

    if name == "auto":
        from ...pipelines.choices.devices import fitting_dtype

        return fitting_dtype(device, model)
    return getattr(torch, checks.choice(name, "dtype", checks.DTYPE_NAMES))


def silence_loading() -> None:
    """No bars of the libraries that load models, between lines of a log and before the one bar that is ours."""
    import diffusers.utils.logging
    import transformers.utils.logging

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
