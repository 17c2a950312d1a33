"""The recipe of a pipeline's kind and a concept's pairing, and what the caller changes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from linea_diffusion import (
    LineaError,
    LinEASDiffusionPipeline,
    TrainingConfig,
    paper_recipe,
    recipe_for,
)
from linea_diffusion import train_steering_maps as train
from linea_diffusion.training.recipes import PAPER, RECIPES, model_kind

from ..conftest import NEON

NO_PAIRS = replace(NEON, target=NEON.target[::-1])
"""The same prompts with other neighbours: no rows to pair."""


@pytest.fixture(scope="module")
def dit():
    return LinEASDiffusionPipeline.from_pretrained("shapeland-dit")


def test_a_unet_and_pairs_have_the_default_settings(pipe):
    assert model_kind(pipe) == model_kind(pipe.base) == "unet"
    assert recipe_for(pipe) == recipe_for(pipe, NEON) == TrainingConfig()


def test_a_transformer_has_its_own(dit):
    assert model_kind(dit) == "transformer"
    assert recipe_for(dit) == recipe_for(dit, NEON) == TrainingConfig(**RECIPES["transformer"]["rows"])
    assert recipe_for(dit) != TrainingConfig()


@pytest.mark.parametrize("kind", ["unet", "transformer"])
def test_without_pairs_laws_are_learned_coordinate_by_coordinate(kind, pipe, dit):
    model = pipe if kind == "unet" else dit
    recipe = recipe_for(model, NO_PAIRS)
    assert recipe == TrainingConfig(**RECIPES[kind]["law"])
    assert (recipe.rank, recipe.scale, recipe.batch_size) == (0, True, None)
    assert recipe_for(model, NEON, pairing="law") == recipe_for(model, pairing="law") == replace(recipe, pairing="law")
    assert recipe_for(model, NO_PAIRS, pairing="rows") == TrainingConfig(**RECIPES[kind]["rows"], pairing="rows")


@pytest.mark.parametrize("kind", ["unet", "transformer"])
def test_the_papers_recipe_is_the_laws_dense_and_at_one_strength(kind, pipe, dit):
    model = pipe if kind == "unet" else dit
    paper = paper_recipe(model, seed=5)
    assert paper == TrainingConfig(**{**RECIPES[kind]["law"], **PAPER, "pairing": "law", "seed": 5})
    assert (paper.sparsity, paper.strengths) == (0.0, (1.0,))
    assert paper_recipe(model, sparsity=0.5).sparsity == 0.5


def test_the_callers_settings_come_first(dit):
    recipe = RECIPES["transformer"]["rows"]
    changed = recipe_for(dit, iterations=7, lr=0.5)
    assert (changed.iterations, changed.lr) == (7, 0.5)
    assert (changed.rank, changed.sparsity) == (recipe["rank"], recipe["sparsity"])
    named = recipe_for(dit, target_modules=("attention",))
    assert (named.rank, named.iterations) == (recipe["rank"], recipe["iterations"])
    with pytest.raises(LineaError, match="iterations"):
        recipe_for(dit, iterations=0)


def test_other_modules_have_the_defaults_for_maps_of_the_same_kind(pipe, dit):
    """What was measured on other modules is left out; what kind of map is learned is not a matter of modules."""
    assert recipe_for(dit, target_modules="norms", seed=3) == TrainingConfig(target_modules="norms", seed=3)
    for model, modules in ((pipe, "attention"), (dit, "norms")):
        laws = recipe_for(model, NO_PAIRS, target_modules=modules)
        assert (laws.rank, laws.scale, laws.batch_size) == (0, True, None)
        assert (laws.lr, laws.iterations) == (TrainingConfig.lr, TrainingConfig.iterations)
        assert paper_recipe(model, target_modules=modules).rank == 0


def test_training_without_settings_takes_it(dit, linea, tmp_path):
    few = recipe_for(dit, NEON, iterations=1, num_inference_steps=1, batch_size=2)
    expected = train(dit, NEON, few)
    file = tmp_path / "neon.jsonl"
    rows = ({"side": side, "prompt": prompt} for side in ("source", "target") for prompt in getattr(NEON, side))
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    arguments = ("--iterations", 1, "--steps", 1, "--batch-size", 2, "--model", "shapeland-dit", "--out", tmp_path)
    assert linea("train", file, *arguments)[0] == 0
    learned = type(expected).from_pretrained(tmp_path)
    assert learned.metadata["training"]["rank"] == RECIPES["transformer"]["rows"]["rank"]
    assert learned.metadata["training"]["pairing"] == "rows"
    assert learned.metadata["calibration"] == expected.metadata["calibration"]
    assert all((learned.numbers()[name] == number).all() for name, number in expected.numbers().items())


def test_modules_are_listed_by_the_recipe(linea):
    for model in ("shapeland-unet", "shapeland-dit"):
        code, out, _ = linea("modules", model)
        rows = [line.split() for line in out.partition(" modules, ")[0].splitlines()[1:-1]]
        assert code == 0
        assert all("attn" in row[0] for row in rows if not row[0].startswith("text_encoder"))
        features, numbers = int(rows[-1][-2]), int(rows[-1][-1])
        recipe = recipe_for(LinEASDiffusionPipeline.from_pretrained(model))
        assert numbers == (recipe.scale + recipe.shift + 2 * recipe.rank) * features
