"""From the fields of a line to jobs: checked, completed by defaults, and named by the digest of all that matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import LineaError, as_python, nearest_hint, short
from ...pipelines.modular import parameters
from ...pipelines.rendering.requests import SET_BY_RENDERING, Request, check_arguments
from ...scoring.images.opening import open_mask
from .defaults import check_defaults
from .expanding import Texts, check_strengths, escape, expand
from .field_names import FIELDS, split_columns
from .fields import (
    CHECKS,
    DIALS,
    LATER,
    check_nesting,
    check_window,
    dial_of,
    names_of,
    number_of,
    plain,
    strength_of,
    text_of,
)
from .fingerprint import digest, model_digest
from .input_images import is_picture, open_picture, picture_digest, picture_size, pictures_by_row
from .steering_sets import SteeringSets

if TYPE_CHECKING:
    from ...pipelines.pipeline import LinEASDiffusionPipeline

_DIGITS = 32


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
        mask = self.dial.get("mask")
        return {**self.dial, **({} if mask is None else {"mask": open_mask(mask)})}

    def fields(self) -> dict[str, Any]:
        """The fields of a line that asks for this image and no other."""
        names = {"strength": "denoising_strength"}
        arguments = {names.get(name, name): value for name, value in self.arguments.items()}
        negative = {} if self.negative_prompt is None else {"negative_prompt": escape(self.negative_prompt)}
        steering = (
            {"steering": list(self.strength), "strength": dict(self.strength)} if self.strength else {"steering": []}
        )
        dials = {**self.dials, "calibrated": self.calibrated} if self.strength else {}
        dials = {name: value for name, value in dials.items() if value != DIALS[name]}
        return {"prompt": escape(self.prompt), **negative, "seed": self.seed, **steering, **dials, **arguments}


class JobMaker:
    """Makes jobs from fields, for one pipeline.

    Args:
        pipe: that will run them.
        defaults: fields for what a line leaves out.
        ending: of the image files, a part of what an image is.
        texts: reads prompts; None: ``{a,b}`` are alternatives.

    Raises:
        LineaError: defaults that no job could have.
    """

    def __init__(
        self, pipe: LinEASDiffusionPipeline, defaults: Mapping[str, Any], ending: str, texts: Texts | None = None
    ) -> None:
        self._call = parameters(pipe)
        self._default_arguments, self._class = dict(pipe.default_arguments), type(pipe.base).__name__
        self.sets, self._texts = SteeringSets(pipe), texts
        self.model = model_digest(pipe.base)
        self.ending, self._pictures = ending, pictures_by_row(pipe.base)
        self._field_names = (*FIELDS, *(name for name in self._call if name not in SET_BY_RENDERING))
        fields = {name: value for name, value in as_python(defaults).items() if value is not None}
        self._check_names(fields)
        self._refuse_unknown(fields)
        self._defaults = check_defaults(fields, texts)
        self._check_steering(self._defaults)

    def jobs(self, line: int, fields: Mapping[str, Any]) -> Iterator[Job | LineaError]:
        """The jobs of one line, one for each image, or what is wrong with the line or an image of it."""
        try:
            check_nesting(fields)
            self._check_names(fields)
            fields, columns = split_columns(fields, self._field_names)
            complete = {"seed": 0, **self._defaults, **plain(fields)}
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
            if name == "latents" or name.endswith("embeds") or name.startswith("callback"):
                raise LineaError(f"got {name!r}, which a line cannot hold: leave it out")
            if name == "denoising_strength" and "strength" not in self._call:
                raise LineaError(
                    f"got denoising_strength, which {self._class} has no use for: leave it out, or load an "
                    "image-to-image pipeline"
                )

    def _refuse_unknown(self, defaults: Mapping[str, Any]) -> None:
        """Raise for a default that is no field: columns are those of lines."""
        for name in defaults:
            if name not in self._field_names:
                raise LineaError(
                    f"got unknown field {short(name)}: expected a field of jobs or an argument of the pipeline"
                    f"{nearest_hint(name[:100], self._field_names)}"
                )

    def _job(self, line: int, part: int, fields: Mapping[str, Any], columns: Mapping[str, Any]) -> Job:
        prompt, negative = text_of(fields.get("prompt"), "prompt"), fields.get("negative_prompt")
        negative = None if negative is None else text_of(negative, "negative_prompt", empty=True)
        dials = {name: dial_of(name, fields.get(name, default)) for name, default in DIALS.items()}
        calibrated = dials.pop("calibrated")
        for name in LATER:
            if dials[name] is None or (name == "masking" and "mask" not in dials):  # images of before have no such name
                del dials[name]
        check_window(dials)
        strength = self._strength(fields, in_order=dials["composition"] == "chain")
        positions = {name: self.sets.position(name, value, calibrated) for name, value in strength.items()}
        on_curve = {name: self.sets.dial(name, calibrated).curve is not None for name in strength}
        arguments = self._arguments(fields, negative)
        recipe = {
            "prompt": prompt,
            "negative_prompt": negative,
            "seed": fields["seed"],
            "steering": [[self.sets.digest(name), value] for name, value in strength.items()],
            "dials": {**self._settled_dials(dials), "calibrated": any(on_curve.values())} if strength else {},
            "arguments": {name: self._settled(name, value) for name, value in arguments.items()},
            "model": self.model,
            "format": self.ending,
        }
        return Job(
            prompt, fields["seed"], positions, {**dials, "calibrated": False}, arguments,
            tuple(name for name, value in arguments.items() if self._is_row(name, value)),
            digest=digest(recipe)[:_DIGITS], line=line, part=part, negative_prompt=negative, strength=strength,
            calibrated=self._said(on_curve), on_curve=on_curve, recipe=recipe,
            columns=columns,
        )  # fmt: skip

    def _said(self, on_curve: Mapping[str, bool]) -> bool | None:
        """The ``calibrated`` that says how these adapters' strengths were read, whatever the default is."""
        if on_curve and all(on_curve.values()):
            return True
        set_aside = any(self.sets[name].dial().curve is not None for name, used in on_curve.items() if not used)
        return False if set_aside else None

    def _strength(self, fields: Mapping[str, Any], *, in_order: bool) -> dict[str, float]:
        """Adapter name -> strength; sorted by name where the order does not matter."""
        strength, steering = fields.get("strength"), names_of(fields.get("steering"))
        if isinstance(strength, Mapping):
            wanted = {
                self.sets.find(str(name)): strength_of(value, f"strength of {name!r}")
                for name, value in strength.items()
            }
            listed = None if steering is None else [self.sets.find(name) for name in steering]
            if listed is not None and set(listed) != set(wanted):
                raise LineaError(f"got strength for {list(wanted)} and steering {listed}: expected the same names")
            strengths = {name: wanted[name] for name in listed or wanted}
        else:
            number = None if strength is None else strength_of(strength, "strength")
            names = list(self.sets.default) if steering is None else [self.sets.find(name) for name in steering]
            if number is None and steering is None:
                strengths = dict(self.sets.default)
            else:
                strengths = dict.fromkeys(names, 1.0 if number is None else number)
            if number and not names:
                raise LineaError(f"got strength {number:g} and no steering: expected steering with it, or strength 0")
        return strengths if in_order else dict(sorted(strengths.items()))

    def _arguments(self, fields: Mapping[str, Any], negative: str | None) -> dict[str, Any]:
        """The arguments of the base pipeline, without those that say what it does anyway."""
        checked = (*self._call, *CHECKS, "negative_prompt")
        arguments = {name: value for name, value in fields.items() if name in checked and name not in SET_BY_RENDERING}
        if "denoising_strength" in fields:
            arguments["strength"] = number_of(fields["denoising_strength"], "denoising_strength")
        for name, check in CHECKS.items():
            if name in arguments:
                arguments[name] = check(arguments[name], name)
        for name in arguments:
            if name not in self._call:
                raise LineaError(f"got {short(name)}, which this pipeline has no use for: leave it out")
        if negative is None:
            arguments.pop("negative_prompt", None)
        usual = {**self._call, **self._default_arguments}
        return {
            name: value
            for name, value in {**self._default_arguments, **arguments}.items()
            if name in self._default_arguments or value != usual[name]
        }

    def _settled_dials(self, dials: Mapping[str, Any]) -> dict[str, Any]:
        return {name: picture_digest(value) if name == "mask" else value for name, value in dials.items()}

    def _is_row(self, name: str, value: Any) -> bool:
        if is_picture(name, value):
            return name in self._pictures
        return isinstance(value, str) and name.startswith(("prompt", "negative_prompt"))

    def _settled(self, name: str, value: Any) -> Any:
        return picture_digest(value) if is_picture(name, value) else value
