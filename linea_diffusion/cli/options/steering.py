"""Options of steering: which maps act, under which names, on which model, and how strong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import LineaError, short
from ...steering.parsing import MASKINGS, STRENGTHS_FORM, parse_curve, parse_dials
from . import checks
from .machines import TEXT_MODEL, makes_texts
from .sessions import MODEL_HELP, Machine

if TYPE_CHECKING:
    from ...maps.steering_maps import SteeringMaps
    from ...pipelines.language.language_model import LinEASLanguageModel
    from ...pipelines.pipeline import LinEASDiffusionPipeline

FIRST_MODEL = "shapeland-unet"
"""The model of commands that are told none, by no option and by no maps."""

Steering = Annotated[
    list[str],
    typer.Option(
        help="Folder or Hub id of steering maps, called by their concept, or NAME=FOLDER; may be repeated. Embedded "
        "models come with neon, watercolor, mosaic, halftone, pixel art, blueprint and pencil sketch. They alone act, "
        "whatever a saved pipeline brings along."
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


def strength_option(what: str) -> Any:
    """The option that says strengths, in the one grammar that all commands read."""
    return typer.Option("--strength", "--strengths", help=f"{what}: {STRENGTHS_FORM}.")


@dataclass(frozen=True)
class Steered:
    """The maps that steer, the model they steer, and how strengths are read."""

    steering: Steering = field(default_factory=list)
    model: Annotated[
        str | None, typer.Option(help=f"{MODEL_HELP} When left out: the one that the maps were learned on.")
    ] = None
    calibrated: Calibrated = None
    strength_curve: Annotated[
        str | None,
        typer.Option(
            help="Points SHARE:STRENGTH such as 0:0,0.3:1,1:0.5: what strengths are times, by the share of the "
            "denoising schedule that is done."
        ),
    ] = None
    mask: Annotated[
        Path | None,
        typer.Option(help="Picture of any size that is white where maps act, black where not; grey is in between."),
    ] = None
    masking: Annotated[
        str | None,
        typer.Option(
            help="pictures (exact, two runs), or activations or activations+text (one run, and some gets out).",
            callback=checks.one_of(*MASKINGS),
        ),
    ] = None

    @property
    def dial(self) -> dict[str, Any]:
        """Arguments of calls that say how steering acts, as jobs name them."""
        curve = None if self.strength_curve is None else parse_curve(self.strength_curve)
        mask = None if self.mask is None else str(self.mask)
        named = {"strength_curve": curve, "mask": mask, "masking": self.masking}
        return {"calibrated": self.calibrated, **{name: value for name, value in named.items() if value is not None}}

    def call(self) -> dict[str, Any]:
        """The same as the pipeline takes it, with the mask opened.

        Raises:
            LineaError: it cannot be read, or there is none to use in the way that is asked for.
        """
        from ...scoring.images.opening import open_mask

        if self.masking is not None and self.mask is None:
            raise LineaError(
                f"got --masking {self.masking} and no --mask: expected the picture that says where maps act"
            )
        return {**self.dial, **({} if self.mask is None else {"mask": open_mask(self.mask)})}

    @cached_property
    def maps(self) -> dict[str, SteeringMaps]:
        """The maps of --steering by name."""
        return {name: maps for name, (_, maps) in self._opened.items()}

    @cached_property
    def _opened(self) -> dict[str, tuple[str, SteeringMaps]]:
        return open_maps(self.steering, self.model or FIRST_MODEL)

    def dials(self, text: str) -> list[float] | list[dict[str, float]]:
        """Strengths as `parse_dials` reads them, with the names that the maps have.

        Raises:
            LineaError: not of that form, or a name that no --steering has.
        """
        values = parse_dials(text)
        return [self._named(one) for one in values if isinstance(one, dict)] or values

    def _named(self, dial: Mapping[str, float]) -> dict[str, float]:
        if not self.steering:  # those of a saved pipeline, which are not known yet
            return dict(dial)
        from ...pipelines.adapters import Adapters

        names = Adapters()
        for name, (source, maps) in self._opened.items():
            names.add(maps, name, source, replace=False)
        return {names.find(name): value for name, value in dial.items()}

    def base(self, more: Mapping[str, SteeringMaps] | None = None) -> str:
        """The model: --model, or else the one that all maps name.

        Args:
            more: maps of other options.

        Raises:
            LineaError: maps of several models, and no --model.
        """
        from ...maps.facts import Facts

        named = {name: Facts.of(maps.metadata).base_model for name, maps in {**self.maps, **(more or {})}.items()}
        if self.model is not None:
            return self.model
        models = {_place(model): model for model in named.values() if model not in (None, "unknown")}
        if len(models) > 1:
            listed = ", ".join(f"{name} of {model}" for name, model in named.items())
            raise LineaError(f"got maps {listed}: expected maps of one model, or --model with the one to steer")
        return str(next(iter(models.values()), FIRST_MODEL))

    def open_text(self, machine: Machine, task: str | None) -> LinEASLanguageModel:
        """The language model of `base` with the maps of --steering.

        Args:
            machine: it runs there.
            task: of --task.

        Raises:
            LineaError: options for pictures.
        """
        idle = {"--strength-curve": self.strength_curve, "--mask": self.mask, "--masking": self.masking}
        if given := [name for name, value in idle.items() if value is not None]:
            raise LineaError(f"got {given[0]} for a language model: expected none, because it is for pictures")
        base = self.base()
        model = machine.load_text(TEXT_MODEL if base == FIRST_MODEL else base)
        return self._with_maps(model, base)

    def is_about_texts(self, task: str | None) -> bool:
        """Whether a language model is meant: by --task, by --model, or by what the maps say."""
        from ...maps.facts import TEXT, Facts

        tasks = {Facts.of(maps.metadata).task for maps in self.maps.values()}
        return makes_texts(task, self.model) or (task is None and self.model is None and TEXT in tasks)

    def _with_maps(self, pipe: Any, base: str, *, load: bool = True) -> Any:
        """A model with the maps of --steering alone, where there are some."""
        self._tell(pipe, base)
        if self.steering:
            pipe.unload_steering()
        for name, (source, maps) in self._opened.items() if load else ():
            pipe.load_steering(maps, adapter_name=name)
            pipe.steering.sources[name] = source
        return pipe

    def open(self, machine: Machine, *, load: bool = True) -> LinEASDiffusionPipeline:
        """The pipeline of `base`; with --steering those maps alone are loaded, each under its name.

        Args:
            machine: it runs there.
            load: whether to load the maps; where a grid brings them along they are not.
        """
        base = self.base()
        try:
            pipe = machine.load(base)
        except LineaError as error:
            if self.model is not None or not self.steering:
                raise
            raise LineaError(
                f"got maps that were learned on {base}, which does not load here: expected --model with where it is "
                f"now ({error})"
            ) from None
        opened: LinEASDiffusionPipeline = self._with_maps(pipe, base, load=load)
        return opened

    def _tell(self, pipe: Any, base: str) -> None:
        """Say what acts that was not asked for, or rests, and on which model maps are used that come from another."""
        from ...maps.facts import Facts

        if pipe.steering and self.steering:
            _note(f"steering that came with {base} rests: {', '.join(pipe.steering)}")
        elif pipe.steering:
            acting = ", ".join(f"{name} at {value}" for name, value in pipe.get_active_steering().items())
            came = f"steering that came with {base}: {', '.join(pipe.steering)}"
            _note(f"{came}; without --strength acts {acting or 'none of it'}")
        for name, maps in self.maps.items():
            learned = Facts.of(maps.metadata).base_model
            if learned not in (None, "unknown") and _place(str(learned)) != _place(base):
                _note(f"{name} was learned on {learned} and steers {base}")


def open_maps(sources: Sequence[str], model: str) -> dict[str, tuple[str, SteeringMaps]]:
    """Name -> folder or Hub id, and maps, of NAME=FOLDER or FOLDER alone; a style may come with the model.

    Maps without a name are called by their concept, or by the last part of their folder where several have one concept.

    Raises:
        LineaError: no such maps, or two of one name.
    """
    from ...pipelines.adapters import adapter_name_of, last_part
    from ...pipelines.packaged import load_maps

    pairs = [split_name(source) for source in sources]
    opened = [load_maps(source, model) for _, source in pairs]
    names = [name or adapter_name_of(maps, source) for (name, source), maps in zip(pairs, opened, strict=True)]
    counts = Counter(names)
    names = [
        one if name or counts[one] == 1 else last_part(source) for one, (name, source) in zip(names, pairs, strict=True)
    ]
    if len(set(names)) != len(names):
        raise LineaError(f"got --steering {', '.join(names)}: expected different maps, or names with NAME=FOLDER")
    return {name: (source, maps) for name, (_, source), maps in zip(names, pairs, opened, strict=True)}


def split_name(text: str) -> tuple[str, str]:
    """Name and source; no name where there is none, or the whole is a folder."""
    name, equals, source = text.partition("=")
    if not equals or Path(text).exists():
        return "", text
    if not name.strip() or not source:
        raise LineaError(f"got --steering {short(text)}: expected FOLDER, or NAME=FOLDER such as neon=runs/neon")
    return name.strip(), source


def _place(model: str) -> str:
    """A model's name, or where its folder is, so that two ways to write one path are one model."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def _note(text: str) -> None:
    typer.echo(f"linea: {text}", err=True)
