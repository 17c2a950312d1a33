"""Every kind of rows: who has which strength, which texts and which labels."""

from __future__ import annotations

import pytest
import torch

from linea_diffusion import LineaError, SteeringMaps, StyleGrid
from linea_diffusion.grids.kinds import plan_dials, plan_methods, plan_prompts, plan_seeds, plan_sparsity, plan_styles
from linea_diffusion.training.calibration.calibrate import calibrate

NAMES = ("neon", "mosaic")


def made(concept, *, zeros=0):
    """Maps of one activation, `zeros` of whose 128 numbers are zero."""
    maps = SteeringMaps({"unet.conv_norm_out": 64})
    with torch.no_grad():
        for parameter in maps.parameters():
            parameter.fill_(0.01)
        next(maps.parameters()).view(-1)[:zeros] = 0
    maps.metadata.update(concept=concept, text=f"a picture in {concept} style", neutral="a picture of something")
    return maps.requires_grad_(False)


@pytest.fixture
def two(pipe):
    """The pipeline with two adapters."""
    for name in NAMES:
        pipe.load_steering(made(name), name)
    return pipe


def strengths(plan):
    return [[dict(dial) for dial in row.dials] for row in plan.rows]


def test_prompts_turn_all_adapters_and_have_a_seed_each(two):
    plan = plan_prompts(two, ["a", "b"], [0, 1], seeds=5)
    assert strengths(plan) == [[{"neon": 0, "mosaic": 0}, {"neon": 1, "mosaic": 1}]] * 2
    assert [(row.label, row.prompt, row.seed) for row in plan.rows] == [("a", "a", 5), ("b", "b", 6)]
    assert plan.columns == ("0", "1")
    assert plan.kind == "prompts x strengths"
    assert [row.seed for row in plan_prompts(two, ["a", "b"], [0], seeds=[9, 3]).rows] == [9, 3]


def test_seeds_share_the_prompt(two):
    plan = plan_seeds(two, "a", [0, 0.5], seeds=[3, 8], style="neon")
    assert [(row.label, row.prompt, row.seed) for row in plan.rows] == [("seed 3", "a", 3), ("seed 8", "a", 8)]
    assert plan.title == "neon: a"
    with pytest.raises(LineaError, match="none twice"):
        plan_seeds(two, "a", [0], seeds=[1, 1])


def test_styles_turn_one_adapter_a_row_and_know_their_texts(two):
    plan = plan_styles(two, "a", [0, 1], seed=4)
    assert strengths(plan) == [
        [{"neon": 0, "mosaic": 0}, {"neon": 1, "mosaic": 0}],
        [{"neon": 0, "mosaic": 0}, {"neon": 0, "mosaic": 1}],
    ]
    assert {row.seed for row in plan.rows} == {4}
    assert {name: texts.text for name, texts in plan.texts.items()} == {n: f"a picture in {n} style" for n in NAMES}
    assert [row.style for row in plan_styles(two, "a", [1], styles=["mosaic"]).rows] == ["mosaic"]
    lent = plan_styles(two, "a", [1], styles={"x": made("halftone")})
    assert (list(lent.maps), lent.texts["x"].name) == (["x"], "halftone")
    with pytest.raises(LineaError, match="nearest: neon"):
        plan_styles(two, "a", [1], styles=["nenn"])


def test_two_dials_cross(two):
    plan = plan_dials(two, "a", [0, 1], row_strengths=[0.5], adapters=("mosaic", "neon"))
    assert strengths(plan) == [[{"mosaic": 0.5, "neon": 0}, {"mosaic": 0.5, "neon": 1}]]
    assert plan.rows[0].label == "mosaic 0.5"
    assert plan.columns == ("neon 0", "neon 1")
    assert plan.kind == "mosaic x neon"
    assert {name: texts.text for name, texts in plan.texts.items()} == {
        name: f"a picture in {name} style" for name in ("mosaic", "neon")
    }, "both styles can be scored"
    assert len(plan_dials(two, "a", [0, 0.5, 1]).rows) == 3
    with pytest.raises(LineaError, match="two dials"):
        plan_dials(two, "a", [0], adapters=("neon", "neon"))


def test_maps_of_other_sizes_are_labelled_by_how_many_numbers_they_have(pipe):
    """A share of a hundred percent of a few numbers is less than a tenth of many."""
    mixing = SteeringMaps({"unet.conv_norm_out": (1, 64, 4)}, made("neon").metadata).requires_grad_(False)
    next(mixing.parameters())[:8] = 0.01
    few, many = mixing, made("neon")
    plan = plan_sparsity(pipe, "a", [0, 1], maps=[few, many])
    assert [row.label for row in plan.rows] == ["128 numbers", "8 numbers"]
    assert plan.maps["8 numbers"] is few


def test_sparsity_is_sorted_and_labelled_by_support(pipe):
    sparse, dense = made("neon", zeros=64), made("neon")
    plan = plan_sparsity(pipe, "a", [0, 1], maps=[sparse, dense])
    assert [row.label for row in plan.rows] == ["100% of the numbers", "50% of the numbers"]
    assert plan.maps["50% of the numbers"] is sparse
    assert plan.title == "neon: a"
    assert [row.label for row in plan_sparsity(pipe, "a", [1], maps={"x": sparse, "y": dense}).rows] == ["x", "y"]
    assert len({row.label for row in plan_sparsity(pipe, "a", [1], maps=[dense, dense]).rows}) == 2
    with pytest.raises(LineaError, match="for several use styles"):
        plan_sparsity(pipe, "a", [1], maps=[sparse, made("mosaic")])


def test_methods_may_ask_in_words(pipe):
    plan = plan_methods(pipe, "a", [0, 0.5, 1], methods={"words": None, "maps": made("neon")})
    words, maps = plan.rows
    assert (words.method, words.asked) == ("words", (None, "a, neon", "a, neon"))
    assert all(value == 0 for dial in words.dials for value in dial.values())
    assert (maps.method, maps.asked, maps.label) == ("maps", (), "maps")
    assert words.style == maps.style == "neon"
    with pytest.raises(LineaError, match="expected style="):
        plan_methods(pipe, "a", [1], methods={"words": None})
    assert plan_methods(pipe, "a", [1], methods={"words": None}, style="neon").rows[0].asked == ("a, neon",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda pipe: plan_prompts(pipe, [], [0]), "0 prompts"),
        (lambda pipe: plan_prompts(pipe, "a red heart", [0]), "a list of them"),
        (lambda pipe: plan_prompts(pipe, ["a"], []), "no strengths"),
        (lambda pipe: plan_prompts(pipe, ["a"], [0.5]), "call load_steering first"),
        (lambda pipe: plan_styles(pipe, "a", [0]), "no styles"),
        (lambda pipe: plan_dials(pipe, "a", [0]), "two dials"),
        (lambda pipe: plan_sparsity(pipe, "a", [0], maps=[]), "no maps"),
        (lambda pipe: plan_methods(pipe, "a", [0], methods={}), "no methods"),
    ],
)
def test_grids_without_what_they_need_are_refused(pipe, make, message):
    with pytest.raises(LineaError, match=message):
        make(pipe)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("", {"strengths": 0.5}),
        ("", {"strengths": None}),
        ("", {"seeds": None}),
        ("", {"seeds": [-1]}),
        ("", {"batch_size": "2"}),
        ("_seeds", {"seeds": [2**63]}),
        ("_styles", {"seed": "x"}),
        ("_styles", {"styles": {5: "maps"}}),
        ("_methods", {"methods": {"": None}}),
    ],
    ids=str,
)
def test_what_no_grid_can_have_is_an_error_of_ours(pipe, random_maps, kind, given):
    pipe.load_steering(random_maps, "one")
    given = {"strengths": [0.0], "num_inference_steps": 1, **given}
    with pytest.raises(LineaError, match="expected"):
        getattr(StyleGrid, f"render{kind}")(pipe, "a" if kind else ["a"], **given)
    with pytest.raises(LineaError, match="seed"):
        calibrate(pipe, random_maps, len, ["a"], seed=-1)
