"""Pairs are found in every packaged concept whose rows are parallel, and in nothing that was moved about."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from linea_diffusion import LineaError, list_concepts, load_concept
from linea_diffusion.concepts.pairing import check_pairs, rows_match

SHAPES = ("a red star", "a red heart", "a blue star", "a blue heart")


@pytest.mark.parametrize("name", list_concepts())
def test_packaged_concepts_are_pairs_and_moved_ones_are_not(name):
    concept = load_concept(name)
    source, target = list(concept.source), list(concept.target)
    assert concept.is_paired
    check_pairs(source, target, name)
    for seed in range(3):
        assert not rows_match(source, random.Random(seed).sample(target, len(target)))
    for places in (1, 7, 8, 31):
        assert not rows_match(source, target[places:] + target[:places]), "rows that keep the object or the colour"
    assert not rows_match(source, target[:-1])


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_few_rows_are_enough(count):
    concept = load_concept("watercolor")
    source, target = concept.source[:count], concept.target[:count]
    assert rows_match(source, target)
    assert not rows_match(source, (*target[1:], target[0]))


def test_half_a_content_in_its_place_is_no_pair():
    assert rows_match(SHAPES, [f"neon, {shape}" for shape in SHAPES])
    moved = (SHAPES[1], SHAPES[0], SHAPES[3], SHAPES[2])
    assert not rows_match(SHAPES, [f"neon, {shape}" for shape in moved]), "the colours stay, the shapes do not"


@pytest.mark.parametrize(
    "source",
    [
        SHAPES,
        ("a cat", "a cat and a dog"),
        ("a dog bites a man", "a man bites a dog", "a man", "a dog"),
        ("ein Boot", "ein Boot auf dem See", "Köln", "Straße"),
        ("红色的猫", "蓝色的船", "绿色的树"),
        ("one", "two", "three", "three"),
    ],
)
def test_a_target_with_all_words_of_its_source_matches(source):
    assert rows_match(source, [f"{prompt}, slightly neon" for prompt in source])
    assert rows_match(source, [f"霓虹{prompt}" if prompt[0] > "\u3000" else f"NEON {prompt}!" for prompt in source])


def test_sides_that_share_nothing_are_no_pairs():
    assert not rows_match(("a dog", "a cat"), ("a hen", "a fox"))
    assert not rows_match(("", ""), ("a hen",))


def test_one_row_of_ten_may_differ_and_two_may_not():
    source = load_concept("anime").source[:10]
    target = [f"{prompt}, anime" for prompt in source]
    target[3] = "an anime girl"
    assert rows_match(source, target)
    target[6] = "an anime boy"
    assert not rows_match(source, target)


def test_the_answer_does_not_depend_on_the_order_of_words_or_rows():
    concept = load_concept("mosaic")
    rows = list(zip(concept.source, concept.target, strict=True))
    for seed in range(5):
        source, target = zip(*random.Random(seed).sample(rows, len(rows)), strict=True)
        assert rows_match(source, [" ".join(reversed(prompt.split())) for prompt in target])


def test_the_error_names_the_first_row_that_is_no_pair_and_its_nearest():
    source = load_concept("neon").source
    target = [f"{prompt}, neon" for prompt in source]
    for one, other in pairwise((4, 9, 14, 19)):
        target[one], target[other] = target[other], target[one]
    with pytest.raises(LineaError, match="in row 5 of concept 'glow'") as caught:
        check_pairs(source, target, "glow")
    message = str(caught.value)
    assert f"got source {source[4]!r} with target {target[4]!r}" in message
    assert f"but {source[4] + ', neon'!r} in row 20 is nearer: expected pairs; write in every row" in message
    with pytest.raises(LineaError, match="no target shares its words"):
        check_pairs(("dog", "cat"), ("hen", "fox"), "glow")
    with pytest.raises(LineaError, match="got 2 source and 1 target prompts for concept 'glow': expected pairs"):
        check_pairs(("dog", "cat"), ("hen",), "glow")
