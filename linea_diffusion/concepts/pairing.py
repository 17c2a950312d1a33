"""Pairs of prompts: whether row i of two sides names the same content, told from the words alone."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ..errors import LineaError, short

_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""Runs of letters and digits; where words have no spaces between them, single characters."""
_KEEPS = 0.5
"""The share of its rows that a word of contents must be in on both sides; "a drawing of" comes and goes."""
_Words = Sequence[dict[str, None]]


def rows_match(source: Sequence[str], target: Sequence[str]) -> bool:
    """Whether row i of `source` and row i of `target` name the same content: (n,) and (n,) prompts.

    For nine rows of ten no other target may share more with the source than its own does. Ties count, because some
    contents occur twice. A target that has all words of its source always matches.
    """
    return len(source) == len(target) and len(_mismatches(source, target)) <= len(source) // 10


def check_pairs(source: Sequence[str], target: Sequence[str], name: str) -> None:
    """Refuse prompts whose rows do not match.

    Args:
        source: (n,) prompts.
        target: (n,) prompts.
        name: of the concept, for the error.

    Raises:
        LineaError: different counts, or rows that do not match; it names the first such row and its nearest target.
    """
    way = "write in every row the same content with and without the concept, or make pairs with a template"
    if len(source) != len(target):
        raise LineaError(
            f"got {len(source)} source and {len(target)} target prompts for concept {name!r}: expected pairs; {way}"
        )
    if rows_match(source, target):
        return
    row, nearest = next(iter(_mismatches(source, target).items()))
    other = (
        "no target shares its words" if nearest is None else f"{short(target[nearest])} in row {nearest + 1} is nearer"
    )
    raise LineaError(
        f"got source {short(source[row])} with target {short(target[row])} in row {row + 1} of concept {name!r}, but "
        f"{other}: expected pairs; {way}"
    )


def _mismatches(source: Sequence[str], target: Sequence[str]) -> dict[int, int | None]:
    """Rows whose own target is not one that shares most -> the row of a target that does, None where none shares."""
    left, right = ([dict.fromkeys(_WORDS.findall(prompt.lower())) for prompt in side] for side in (source, target))
    rarity = _rarity(left, right)
    shares = _shares(left, right, rarity)
    # Words may keep to their rows although the rest of the contents has moved: look first where the rest went.
    kept = _shares(left, right, _keeping(rarity, left, right, enumerate(range(len(left)))))
    nearest = [(row, _nearest(near, kept[row])) for row, near in enumerate(shares) if near]
    partners: dict[int, int | None] = {}
    for row, near in enumerate(_shares(left, right, _keeping(rarity, left, right, nearest))):
        share = near.get(row, 0.0)
        if share < max(near.values(), default=0.0):
            partners[row] = max(near, key=near.__getitem__)
        elif not share and not left[row].keys() <= right[row].keys():
            partners[row] = max(shares[row], key=shares[row].__getitem__, default=None)
    return partners


def _nearest(near: Mapping[int, float], kept: Mapping[int, float]) -> int:
    return max(near, key=lambda at: (kept.get(at, 0.0), near[at]))


def _rarity(left: _Words, right: _Words) -> dict[str, float]:
    """What a word tells of its row: log(n / rows with it), of the side with more; none where most rows have it."""
    counts = [Counter(word for row in side for word in row) for side in (left, right)]
    most = {word: max(count[word] for count in counts) for word in counts[0].keys() & counts[1].keys()}
    return {word: math.log(len(left) / rows) for word, rows in most.items() if rows <= len(left) / 2}


def _shares(left: _Words, right: _Words, weights: Mapping[str, float]) -> list[dict[int, float]]:
    """The summed weights of the words that a row of one side shares with rows of the other; zeros left out."""
    places: dict[str, list[int]] = {}
    for at, words in enumerate(right):
        for word in words.keys() & weights.keys():
            places.setdefault(word, []).append(at)
    shares = []
    for words in left:
        near: dict[int, float] = {}
        for word in words:
            for at in places.get(word, ()):
                near[at] = near.get(at, 0.0) + weights[word]
        shares.append({at: round(near[at], 9) for at in sorted(near)})
    return shares


def _keeping(
    weights: Mapping[str, float], left: _Words, right: _Words, pairs: Iterable[tuple[int, int]]
) -> dict[str, float]:
    """The weights of the words that, where one row of a pair has them, are in both in at least half of the cases."""
    both, either = Counter[str](), Counter[str]()
    for one, other in pairs:
        both.update(left[one].keys() & right[other].keys())
        either.update(left[one].keys() | right[other].keys())
    return {word: weight for word, weight in weights.items() if both[word] >= _KEEPS * either[word] > 0}
