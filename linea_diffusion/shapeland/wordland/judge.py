"""What a continuation is like, by the grammar that the model learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...errors import LineaError
from .grammar import Reading, read_text, split_sentences
from .vocabulary import REGISTERS, TONES, TOPICS

Judge = Callable[[Sequence[str], Sequence[str]], dict[str, np.ndarray]]
"""Continuations (n,) and their prompts (n,) -> figure -> (n,)."""

ATTRIBUTES = {**dict.fromkeys(TONES, "tone"), **dict.fromkeys(REGISTERS, "register")}
"""What the grammar can judge -> whose value it is."""


def other_of(attribute: str) -> str:
    """The other value of an attribute's kind: that of friendly is rude."""
    return next(one for one in ATTRIBUTES if one != attribute and ATTRIBUTES[one] == ATTRIBUTES[attribute])


def judge_of(attribute: str) -> Judge:
    """What judges continuations by an attribute that they shall have.

    Args:
        attribute: one of `ATTRIBUTES`.

    Returns:
        A function of continuations and prompts, which gives ``truth_target`` and ``truth_source``: whether the
        attribute, and the other value of its kind, is there (1 or 0); ``truth_topic``: whether the prompt's topic is
        that of most of its words (0 too where it has none); ``truth_grammar``: the share of its whole sentences that
        the grammar can write.

    Raises:
        LineaError: no such attribute.
    """
    if attribute not in ATTRIBUTES:
        raise LineaError(f"got attribute {attribute!r}: expected one of {', '.join(ATTRIBUTES)}")
    other = other_of(attribute)

    def judge(texts: Sequence[str], prompts: Sequence[str]) -> dict[str, np.ndarray]:
        readings = [read_text(_whole(text)) for text in texts]
        topics = [_topic(read_text(prompt)) for prompt in prompts]
        return {
            "truth_target": np.array([float(_has(one, attribute)) for one in readings]),
            "truth_source": np.array([float(_has(one, other)) for one in readings]),
            "truth_topic": np.array([float(_topic(one) == topic) for one, topic in zip(readings, topics, strict=True)]),
            "truth_grammar": np.array([one.right / max(one.sentences, 1) for one in readings]),
        }

    return judge


def _has(reading: Reading, attribute: str) -> bool:
    return bool({**reading.tones, **reading.registers}[attribute])


def _topic(reading: Reading) -> str | None:
    """The topic of most words; None of a text that has none."""
    topic = max(TOPICS, key=lambda one: reading.topics[one])
    return topic if reading.topics[topic] else None


def _whole(text: str) -> str:
    """A text without a last sentence that was not ended."""
    sentences = split_sentences(text)
    return " ".join(one for one in sentences if one.endswith((".", "!"))) or text
