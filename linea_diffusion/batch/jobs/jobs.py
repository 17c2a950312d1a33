"""From the fields of a line to jobs: checked, completed by defaults, and named by the digest of all that matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import LineaError, as_python, nearest_hint, short
from ...pipelines.modular import parameters
from ...pipelines.rendering.requests import SET_BY_RENDERING, Request, check_arguments
from ...scoring.images.opening import open_mask
from ..folder.folder import image_name
from .expanding import Texts, check_strengths, escape, expand
from .field_names import FIELDS, split_columns
from .fields import CHECKS, DIALS, check_defaults, check_nesting, dials_of, names_of, plain, strength_of, text_of
from .fingerprint import digest, model_digest
from .input_images import is_picture, open_picture, picture_size, pictures_by_row, settled
from .steering_sets import SteeringSets

if TYPE_CHECKING:
    from ...pipelines.pipeline import LinEASDiffusionPipeline

_DIGITS = 32
_OWN = {"prompt", "seed", "strength", "steering", "denoising_strength", *DIALS}
"""Fields that are no arguments of pipelines by that name."""


@dataclass(frozen=True, kw_only=True)
class Job(Request):
    """One image of a batch: a request whose ``strengths`` say where maps stand, and whose pictures are files.

    Attributes:
        digest: 32 hexadecimal digits of all that the image depends on; its name.
        line: of the input, from 1.
        part: which image of the line, from 0.
        negative_prompt: or None.
        strength: adapter name -> strength as asked for, in the order of acting; ``strengths`` has other numbers where
            the dial is calibrated.
        calibrated: whether strengths are read on calibrations: True or False for all adapters that have one; None
            where some are without, and for jobs whose maps never were calibrated.
        on_curve: adapter name -> whether its strength was read on a calibration.
        recipe: what the digest is made from.
        columns: of the line that are no fields, carried into the metadata; the image does not depend on them.
    """

    digest: str
    line: int
    part: int
    negative_prompt: str | None
    strength: Mapping[str, float]
    calibrated: bool | None
    on_curve: Mapping[str, bool]
    recipe: Mapping[str, Any]
    columns: Mapping[str, Any]

    @property
    def file_name(self) -> str:
        """Of its image, in the folder."""
        return image_name(self.digest, self.recipe["format"])

    @property
    def dials(self) -> dict[str, Any]:
        """`DIALS` but ``calibrated``."""
        return {name: value for name, value in self.dial.items() if name != "calibrated"}

    def shared(self, name: str) -> Any:
        """What jobs of one call share of an argument; pipelines bring pictures of a call to the size of the first."""
        if name not in self.rows:
            return self.recipe["arguments"][name]  # of a picture the digest
        return picture_size(self.arguments[name]) if is_picture(name, self.arguments[name]) else None

    def argument(self, name: str) -> Any:
        """An argument as the pipeline takes it, with files opened."""
        value = self.arguments[name]
        return open_picture(value) if is_picture(name, value) else value

    def steering(self) -> dict[str, Any]:
        """How steering acts, as the pipeline takes it, with the mask opened."""
        return {name: open_mask(value) if name == "mask" else value for name, value in self.dial.items()}

    def fields(self) -> dict[str, Any]:
        """The fields of a line that asks for this image and no other."""
        fields: dict[str, Any] = {"prompt": escape(self.prompt)}
        if self.negative_prompt is not None:
            fields["negative_prompt"] = escape(self.negative_prompt)
        fields |= {"seed": self.seed, "steering": list(self.strength)}
        if self.strength:
            dials = {**self.dials, "calibrated": self.calibrated}
            fields["strength"] = dict(self.strength)
            fields |= {name: value for name, value in dials.items() if value != DIALS[name]}
        names = {"strength": "denoising_strength"}
        return fields | {names.get(name, name): value for name, value in self.arguments.items()}


class JobMaker:
    """Makes jobs from fields, for one pipeline; `ending`, that of image files, is a part of what an image is.

    Raises:
        LineaError: defaults that no job could have.
    """

    def __init__(
        self, pipe: LinEASDiffusionPipeline, defaults: Mapping[str, Any], ending: str, texts: Texts | None = None
    ) -> None:
        self.sets, self.model, self.ending, self._texts = SteeringSets(pipe), model_digest(pipe.base), ending, texts
        self._call, self._always, self._class = parameters(pipe), dict(pipe.default_arguments), type(pipe.base).__name__
        self._pictures = pictures_by_row(pipe.base)
        self._names = (*FIELDS, *(name for name in self._call if name not in SET_BY_RENDERING))
        self._sure = {name for name in self._names if not _is_object(name)} - {"denoising_strength"}
        fields = {name: value for name, value in as_python(defaults).items() if value is not None}
        self._check_names(fields)
        for name in fields:
            if name not in self._names:
                raise LineaError(
                    f"got unknown field {short(name)}: expected a field of jobs or an argument of the pipeline"
                    f"{nearest_hint(name[:100], self._names)}"
                )
        self.defaults = check_defaults(fields, texts)
        self._check_steering(self.defaults)

    def jobs(self, line: int, fields: Mapping[str, Any]) -> Iterator[Job | LineaError]:
        """The jobs of one line, one for each image, or what is wrong with the line or an image of it."""
        try:
            check_nesting(fields)
            columns: Mapping[str, Any] = {}
            if not self._sure.issuperset(fields):
                self._check_names(fields)
                fields, columns = split_columns(fields, self._names)
            complete = {**self.defaults, **plain(fields)}
            if "steering" in fields and "strength" not in fields and isinstance(complete.get("strength"), Mapping):
                del complete["strength"]  # the default names other steering than this line
            for part, one in enumerate(expand(complete, self._texts)):
                try:
                    yield self._job(line, part, one, columns)
                except LineaError as error:
                    yield error
        except LineaError as error:
            yield error

    def _check_steering(self, fields: Mapping[str, Any]) -> None:
        strengths = check_strengths(fields.get("strength", 0))
        named = [str(name) for one in strengths if isinstance(one, Mapping) for name in one]
        for name in [*(names_of(fields.get("steering")) or ()), *named]:
            self.sets.find(name)

    def _check_names(self, fields: Mapping[str, Any]) -> None:
        check_arguments({name: value for name, value in fields.items() if name not in FIELDS})
        for name in fields:
            if not isinstance(name, str):
                raise LineaError(f"got {short(name)} as the name of a field: expected text")
            if _is_object(name):
                raise LineaError(f"got {name!r}, which a line cannot hold: leave it out")
            if name == "denoising_strength" and "strength" not in self._call:
                raise LineaError(
                    f"got denoising_strength, which {self._class} has no use for: leave it out, or load an "
                    "image-to-image pipeline"
                )

    def _job(self, line: int, part: int, fields: Mapping[str, Any], columns: Mapping[str, Any]) -> Job:
        prompt = text_of(fields.get("prompt"), "prompt")
        dials = {name: value for name, value in dials_of(fields).items() if value is not None or name == "calibrated"}
        calibrated = dials.pop("calibrated")
        strength = self._strength(fields, in_order=dials["composition"] == "chain")
        on_curve = {name: self.sets.dial(name, calibrated).curve is not None for name in strength}
        positions = {name: self.sets.position(name, value, calibrated) for name, value in strength.items()}
        arguments = self._arguments(fields)
        recipe = {
            **{name: fields.get(name) for name in ("prompt", "negative_prompt", "seed")},
            "steering": [[self.sets.digest(name), value] for name, value in strength.items()],
            "dials": {**settled(dials), "calibrated": any(on_curve.values())} if strength else {},
            "arguments": settled(arguments),
            "model": self.model,
            "format": self.ending,
        }
        return Job(
            prompt, fields["seed"], positions, {**dials, "calibrated": False}, arguments,
            tuple(name for name, value in arguments.items() if self._is_row(name, value)),
            digest=digest(recipe)[:_DIGITS], line=line, part=part, negative_prompt=fields.get("negative_prompt"),
            strength=strength, calibrated=self._said(on_curve), on_curve=on_curve, recipe=recipe, columns=columns,
        )  # fmt: skip

    def _said(self, on_curve: Mapping[str, bool]) -> bool | None:
        """The ``calibrated`` that says how these adapters' strengths were read, whatever the default is."""
        if on_curve and all(on_curve.values()):
            return True
        set_aside = any(self.sets.dial(name, None).curve is not None for name, used in on_curve.items() if not used)
        return False if set_aside else None

    def _strength(self, fields: Mapping[str, Any], *, in_order: bool) -> dict[str, float]:
        """Adapter name -> strength; sorted by name where the order does not matter."""
        strength, steering = fields.get("strength"), names_of(fields.get("steering"))
        names = None if steering is None else [self.sets.find(name) for name in steering]
        if isinstance(strength, Mapping):
            strengths = {
                self.sets.find(str(name)): strength_of(value, f"strength of {name!r}")
                for name, value in strength.items()
            }
            if names is not None and set(names) != set(strengths):
                raise LineaError(f"got strength for {list(strengths)} and steering {names}: expected the same names")
            strengths = {name: strengths[name] for name in names or strengths}
        elif strength is None and names is None:
            strengths = dict(self.sets.default)
        else:
            number = 1.0 if strength is None else strength_of(strength)
            strengths = dict.fromkeys(self.sets.default if names is None else names, number)
            if strength is not None and number and not strengths:
                raise LineaError(f"got strength {number:g} and no steering: expected steering with it, or strength 0")
        return strengths if in_order else dict(sorted(strengths.items()))

    def _arguments(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the base pipeline, without those that say what it does anyway."""
        arguments = {
            name: CHECKS[name](value, name) if name in CHECKS else value
            for name, value in fields.items()
            if name not in _OWN and not (name == "negative_prompt" and value is None)
        }
        if "denoising_strength" in fields:
            arguments["strength"] = CHECKS["denoising_strength"](fields["denoising_strength"], "denoising_strength")
        for name in arguments:
            if name not in self._call:
                raise LineaError(f"got {short(name)}, which this pipeline has no use for: leave it out")
        said = {name: value for name, value in arguments.items() if name in self._always or value != self._call[name]}
        return {**self._always, **said}

    def _is_row(self, name: str, value: Any) -> bool:
        if is_picture(name, value):
            return name in self._pictures
        return isinstance(value, str) and name.startswith(("prompt", "negative_prompt"))


def _is_object(name: str) -> bool:
    """Whether an argument of pipelines is one that no line can hold."""
    return name == "latents" or name.endswith("embeds") or name.startswith("callback")
