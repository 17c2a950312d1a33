"""Options of training: the prompts of a concept, and the settings of a run."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ...errors import LineaError, short
from .sessions import Modules, Session, key_values, literal, without_none

if TYPE_CHECKING:
    from ...concepts.concept import Concept


@dataclass(frozen=True)
class ConceptFiles:
    """Files of prompts, or a template, that make a concept."""

    source: Annotated[
        Path | None,
        typer.Option(help="Text file of prompts without the style, one per line: with --template or --target."),
    ] = None
    target: Annotated[
        Path | None, typer.Option(help="Text file of prompts with the style, best in pairs with --source.")
    ] = None
    template: Annotated[
        str | None, typer.Option(help="Makes the targets from --source, as '{prompt}, neon': pairs, without --target.")
    ] = None
    level: Annotated[
        list[str] | None,
        typer.Option(help="Less of --template, as 0.5='{prompt}, slightly neon'; may be repeated."),
    ] = None
    text: Annotated[
        str | None, typer.Option(help="The style in words, for scores: a picture in neon style; made of --template.")
    ] = None
    neutral: Annotated[str | None, typer.Option(help="What --text is weighed against: a picture of something.")] = None

    def concept(self, name: str) -> Concept:
        """A known concept, one from the files of --source and --target, or one from --source and --template."""
        from ...concepts.concept import NEUTRAL, Concept, concept_from_files, load_concept
        from ...concepts.prompt_files import prompt_lines

        options = without_none(source=self.source, target=self.target, template=self.template)
        if self.level and self.template is None:
            raise LineaError(f"got --level {short(self.level[0])} without --template: expected both, with --source")
        if not options:
            return self._with_texts(load_concept(name))
        if self.source is None or len(options) != 2:
            raise LineaError(
                f"got {' and '.join(f'--{option}' for option in options)}: expected --source with either --target or "
                "--template, or none of them with a known concept"
            )
        if self.template is None:
            return self._with_texts(concept_from_files(self.source, cast(Path, self.target), name=name))
        prompts, neutral = prompt_lines(self.source), self.neutral or NEUTRAL
        made = Concept.from_template(prompts, self.template, name=name, neutral=neutral, levels=self._levels())
        return self._with_texts(made)

    def _with_texts(self, concept: Concept) -> Concept:
        """A concept with the texts of --text and --neutral."""
        return replace(concept, **without_none(text=self.text, neutral=self.neutral))

    def _levels(self) -> dict[float, str]:
        """Strength -> template, from --level STRENGTH=TEMPLATE."""
        form, levels = "STRENGTH=TEMPLATE, such as 0.5='{prompt}, slightly neon'", {}
        for text, template in key_values("--level", self.level or (), form=form):
            strength = literal(text.strip())
            if not isinstance(strength, float | int):
                raise LineaError(f"got --level {short(f'{text}={template}')}: expected {form}")
            if strength in levels:
                raise LineaError(f"got --level {text.strip()} twice: expected one template for each strength")
            levels[strength] = template.strip()
        return levels


@dataclass(frozen=True)
class TrainingOptions:
    """Settings of a training that have options of their own, and all others."""

    modules: Modules = None
    iterations: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None
    batch_size: Annotated[
        int | None, typer.Option(help="Source prompts per iteration; --set batch_size=None: all.")
    ] = None
    micro_batch_size: Annotated[
        int | None, typer.Option(help="Prompts at once: less memory, more time, the same gradients.")
    ] = None
    rank: Annotated[int | None, typer.Option(help="Of the low-rank part of each map; 0: coordinate by coordinate.")] = (
        None
    )
    sparsity: Annotated[float | None, typer.Option(help="Share of the maps' numbers that shall be zero.")] = None
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate/--no-calibrate", help="Fit the dial when training ends, so that steps look equal."),
    ] = True
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other setting, as optimizer=sgd; may be repeated. What each means, and what the paper's l1 and "
            "group_lasso are here, tells: python -m pydoc linea_diffusion.TrainingConfig",
        ),
    ] = None

    def arguments(self, session: Session) -> dict[str, Any]:
        """The checked settings: those of options of their own, the session's, and those of --set KEY=VALUE."""
        from ...training.config import TrainingConfig

        call = session.arguments
        negative = call.pop("negative_prompt", None)
        if negative is not None and (session.guidance or 0) <= 1:
            raise LineaError(
                f"got --negative-prompt {short(negative)} for a training at guidance {session.guidance or 1:g}, which "
                "leaves it out: expected --guidance above 1, such as 5"
            )
        same = ("iterations", "lr", "batch_size", "micro_batch_size", "rank", "sparsity")
        made = without_none(
            **{name: getattr(self, name) for name in same},
            **call,
            calibrate=None if self.calibrate else False,
            target_modules=tuple(self.modules) if self.modules else None,
            seed=session.seed,
        )
        keys = [one.name for one in fields(TrainingConfig)]
        made |= {key: literal(text) for key, text in key_values("--set", self.settings or (), keys)}
        if negative is not None:
            made["call_arguments"] = {"negative_prompt": negative, **made.get("call_arguments", {})}
        TrainingConfig(**made)
        return made
