"""Prompts as templates of `dynamicprompts`: alternatives, wildcards, combinations, variables."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from ...errors import LineaError, reason, short
from .expanding import MOST_PROMPTS, alternatives

_OURS = re.compile(r"\{([^{}|$]*,[^{}|$]*)\}")
_THEIRS = re.compile(r"\||__|\$")
_BY_CHANCE = re.compile(r"(\{|__)[~@]")
_WILDCARD = re.compile(r"__([\w*/-]+)__")


class Templates:
    """Reads the templates of a batch.

    Args:
        wildcards: a folder of text files, whose lines are the values of ``__NAME__``; None for no wildcards.

    Raises:
        LineaError: dynamicprompts is not installed, or there is no such folder.
    """

    def __init__(self, wildcards: str | Path | None = None) -> None:
        try:
            from dynamicprompts.generators import CombinatorialPromptGenerator
            from dynamicprompts.wildcards import WildcardManager
        except ImportError:
            raise LineaError(
                "got --templates without dynamicprompts: pip install 'linea-diffusion[templates]'"
            ) from None
        if wildcards is not None and not Path(wildcards).is_dir():
            raise LineaError(f"got wildcards {str(wildcards)!r}: expected a folder of text files")
        logging.getLogger("dynamicprompts.wildcards.wildcard_manager").setLevel(logging.ERROR)
        self._generator = CombinatorialPromptGenerator(WildcardManager(wildcards))

    def __call__(self, text: str) -> list[str]:
        """Every text that a template stands for, in an order that does not change; ``{a,b}`` stays what it is.

        Raises:
            LineaError: a template that cannot be read, has no values for a wildcard, is drawn by chance, or stands for
                too many texts.
        """
        from pyparsing import ParseBaseException

        if not _THEIRS.search(text):
            return alternatives(text)
        if _BY_CHANCE.search(text):
            raise LineaError(
                f"got {short(text)}, which is drawn by chance: expected {{a|b}}, which is the same each time"
            )
        theirs = _OURS.sub(lambda braces: "{" + braces[1].replace(",", "|") + "}", text)
        try:
            made = self._generator.generate(theirs, MOST_PROMPTS + 1)
        except (ParseBaseException, ValueError, RecursionError) as error:
            raise LineaError(f"got {short(text)}: expected a template of dynamicprompts ({reason(error)})") from None
        if unknown := _WILDCARD.search(made[0] if made else text):
            raise LineaError(f"got {short(text)}: expected values for {unknown[0]}; say --wildcards FOLDER")
        if len(made) > MOST_PROMPTS:
            raise LineaError(f"got {short(text)}, which stands for more than {MOST_PROMPTS} prompts: expected fewer")
        return [one.strip() for one in made]
