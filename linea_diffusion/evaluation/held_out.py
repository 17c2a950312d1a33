"""What a concept is evaluated on: prompts that it was not learned from, and who tells what pictures show."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..concepts.concept import Concept, list_concepts, load_concept
from ..concepts.prompt_files import prompt_lines
from ..errors import LineaError
from ..shapeland import LANGUAGE_MODELS, MODELS
from ..shapeland.styles import STYLES
from ..shapeland.truth import held_out_prompts, truth_judge
from ..shapeland.wordland.grammar import write_prompts
from ..shapeland.wordland.judge import ATTRIBUTES, other_of
from .evaluate import Judge
from .method_names import PROMPTING


def prompts_for(concept: Concept, model: str, file: Path | None, count: int) -> list[str]:
    """Prompts that a concept was not learned from.

    Args:
        concept: that is evaluated.
        model: its name; the embedded ones have held-out prompts of their own, others get those of all real styles.
        file: a text file with one prompt per line, in place of either.
        count: how many at most.

    Raises:
        LineaError: there are none.
    """
    if file is None and model in MODELS:
        return held_out_prompts(count)
    others = [load_concept(name).source for name in list_concepts("style", world="real")] if file is None else []
    lines = prompt_lines(file) if file is not None else [prompt for source in others for prompt in source]
    prompts = [prompt for prompt in lines if prompt not in concept.source]
    if not prompts:
        raise LineaError(
            f"got no prompt in {str(file)!r} that {concept.name!r} was not learned from: expected some; "
            "name another file with --prompts"
        )
    return (prompts if file is not None else list(dict.fromkeys(prompts)))[:count]


def judge_of(concept: Concept, model: str) -> Judge | None:
    """The truth classifier, where it knows the concept's style and the model's pictures."""
    return truth_judge(concept.name) if model in MODELS and concept.name in STYLES else None


def text_prompts_for(concept: Concept, model: str, file: Path | None, count: int) -> list[str]:
    """Prompts for a language model that a concept was not learned from.

    Args:
        concept: that is evaluated.
        model: its name; the embedded one has prompts of its grammar, half of them with what the concept steers from.
        file: a text file with one prompt per line, in place of them.
        count: how many at most.

    Raises:
        LineaError: there are none.
    """
    if file is None and (model not in LANGUAGE_MODELS or concept.name not in ATTRIBUTES):
        raise LineaError(
            f"got no prompts for the concept {concept.name!r} and the model {model}: expected --prompts with a text "
            f"file; those of {', '.join(LANGUAGE_MODELS)} are for {', '.join(ATTRIBUTES)}"
        )
    if file is None:
        kind, source = ATTRIBUTES[concept.name], other_of(concept.name)
        lines = write_prompts(count - count // 2, 77) + write_prompts(count // 2, 78, toned=True, **{kind: source})
    else:
        lines = list(prompt_lines(file))
    prompts = [prompt for prompt in lines if not any(known in prompt for known in concept.source)]
    if not prompts:
        raise LineaError(
            f"got no prompt in {str(file)!r} that {concept.name!r} was not learned from: expected some; "
            "name another file with --prompts"
        )
    return prompts[:count]


def check_removal(concept: Concept, methods: Iterable[str], file: Path | None) -> None:
    """Taking something out is seen on prompts that ask for it, and cannot be compared with asking in words.

    Raises:
        LineaError: such a concept without a file of prompts, or with "prompting" among the methods.
    """
    if concept.kind == "object removal" and (file is None or PROMPTING in methods):
        raise LineaError(
            f"got {concept.name!r}, which takes something out of pictures: expected --prompts with a file whose "
            f"prompts ask for it, and methods that learn maps (--methods lineas,lin-act, without {PROMPTING!r})"
        )
