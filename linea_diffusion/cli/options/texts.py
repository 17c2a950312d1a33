"""Options that say what pictures are scored against: a concept's texts, or texts of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import LineaError

if TYPE_CHECKING:
    from ...concepts.concept import StyleTexts


@dataclass(frozen=True)
class Texts:
    """What all rows are scored against."""

    concept: Annotated[
        str | None, typer.Option(help="Concept whose texts pictures are scored against; the maps' own when left out.")
    ] = None
    text: Annotated[
        str | None, typer.Option(help="The style in words to score against, such as: a picture in neon style.")
    ] = None
    neutral: Annotated[str | None, typer.Option(help="What --text is weighed against: a picture of something.")] = None

    @cached_property
    def texts(self) -> StyleTexts | None:
        """Those of --text and --neutral, or of --concept; None for neither.

        Raises:
            LineaError: --neutral without a text, or an unknown concept.
        """
        from ...concepts.concept import NEUTRAL, StyleTexts, load_concept

        known = load_concept(self.concept).texts if self.concept else None
        if self.text:
            return StyleTexts(known.name if known else self.text, self.text, self.neutral or NEUTRAL)
        if self.neutral and known is None:
            raise LineaError(f"got --neutral {self.neutral!r} without --text: expected both, or --concept")
        return StyleTexts(known.name, known.text, self.neutral or known.neutral) if known else None
