"""Honest comparison of ways to steer a language model: held-out prompts, the same draws for all, training seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from ..errors import LineaError, check_seed
from ..pipelines.language.language_model import LinEASLanguageModel
from ..pipelines.language.tokens import padded, tokens_of
from ..progress import stage
from ..steering.language import LanguageModel
from .evaluate import check_dial
from .records import Record
from .ways import Methods, ways_of

TextJudge = Callable[[Sequence[str], Sequence[str]], Mapping[str, np.ndarray]]
"""Continuations and prompts -> figure -> (n,)."""
OnTexts = Callable[[str, float, list[str]], None]
Texts = dict[tuple[str, str, str, float], str]
"""(style, method, prompt, strength) -> continuation."""
NEW_TOKENS = 32


def evaluate_texts(
    model: Any,
    methods: Methods,
    style: str,
    prompts: Sequence[str],
    *,
    strengths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    judge: TextJudge | None = None,
    words: str = "",
    seed: int = 1000,
    seeds: Sequence[int] = (0,),
    batch_size: int = 64,
    on_texts: OnTexts | None = None,
    **arguments: Any,
) -> list[Record]:
    """Continue held-out prompts by every method at every strength, and score each text.

    Args:
        model: a `LinEASLanguageModel`, or what it can be made of; its own steering is not used.
        methods: as for `evaluate`: name -> maps, maps by training seed, or None for asking in words, at strength 1.
        style: the concept's name.
        prompts: held-out prompts; the draws of a batch of them are the same in every method and at every strength.
        strengths: the dial's positions; 0 is written once and serves all methods.
        judge: (texts, prompts) -> name -> figure (n,), such as that of `wordland.judge.judge_of`.
        words: what asking in words puts before a prompt.
        seed: of the sampling.
        seeds: of the trainings, see `evaluate`.
        batch_size: prompts at once.
        on_texts: called with (method, strength, texts in the order of the prompts) as they are made, such as
            `keep_first`.
        **arguments: of the model's ``generate``; 32 new tokens, sampled, unless told otherwise.

    Returns:
        Records with the judge's figures, ``perplexity`` and ``distinct_2``.

    Raises:
        LineaError: no prompts or methods, or strengths that do not ascend from 0 or leave 1 out.
    """
    positions = check_dial(strengths)
    if not (prompts and methods):
        raise LineaError(f"got {len(prompts)} prompts and {len(methods)} methods: expected some of each")
    base = model.base if isinstance(model, LinEASLanguageModel) else LinEASLanguageModel(model).base
    settings = {"max_new_tokens": NEW_TOKENS, "do_sample": True, **arguments}
    first, plain = check_seed(seed), LinEASLanguageModel(base)

    def written(texts: Sequence[str]) -> list[str]:
        parts = range(0, len(texts), batch_size)
        return [
            text for at in parts for text in plain.generate(texts[at : at + batch_size], seed=first + at, **settings)
        ]

    unsteered = written(prompts)
    ways = ways_of(methods, seeds)
    plan = [(way, s) for way in ways for s in positions if way.maps is not None or s in (0, 1)]
    records: list[Record] = []
    with stage(f"evaluate {style}", len(plan), unit="position") as going:
        for way, strength in plan:
            if strength == 0:
                texts = unsteered
            elif way.maps is None:
                texts = written([f"{words}{prompt}" for prompt in prompts])
            else:
                with way.maps.apply(base, strength):
                    texts = written(prompts)
            figures = _figures(base, texts, prompts, judge)
            for row, prompt in enumerate(prompts):
                scores = {name: float(values[row]) for name, values in figures.items() if not np.isnan(values[row])}
                records.append(Record(style, way.method, strength, prompt, scores, first, way.training_seed))
            if on_texts is not None:
                on_texts(way.method, strength, texts)
            going.update()
    return records


def _figures(
    base: LanguageModel, texts: Sequence[str], prompts: Sequence[str], judge: TextJudge | None
) -> dict[str, np.ndarray]:
    own = {"perplexity": perplexities(base, texts), "distinct_2": np.array([distinct(text) for text in texts])}
    return {**(judge(texts, prompts) if judge else {}), **own}


@torch.no_grad()
def perplexities(base: LanguageModel, texts: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
    """Perplexity of each text by itself under the model as it stands, (n,); NaN for one of fewer than 2 tokens."""
    values: list[float] = []
    for start in range(0, len(texts), batch_size):
        ids, mask = padded(tokens_of(base, [text or " " for text in texts[start : start + batch_size]]), base, "right")
        logits = base.model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        losses = cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
        counts = mask[:, 1:].sum(dim=1)
        means = (losses * mask[:, 1:]).sum(dim=1) / counts
        values += means.exp().tolist()
    return np.array(values)


def distinct(text: str, n: int = 2) -> float:
    """Share of a text's n-grams of words that are different (Li et al., arXiv 1510.03055); NaN for fewer words."""
    words = text.split()
    grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")
