"""The recipe of a pipeline's kind, and what the caller changes of it."""

from __future__ import annotations

import pytest

from linea_diffusion import LineaError, LinEASDiffusionPipeline, TrainingConfig, load_concept, recipe_for
from linea_diffusion import train_steering_maps as train
from linea_diffusion.recipes import RECIPES, denoiser_kind


@pytest.fixture(scope="module")
def dit():
    return LinEASDiffusionPipeline.from_pretrained("shapeland-dit")


def test_a_unet_has_the_default_settings(pipe):
    assert denoiser_kind(pipe) == denoiser_kind(pipe.base) == "unet"
    assert recipe_for(pipe) == TrainingConfig()


def test_a_transformer_has_its_own(dit):
    assert denoiser_kind(dit) == "transformer"
    assert recipe_for(dit) == TrainingConfig(**RECIPES["transformer"]) != TrainingConfig()


def test_the_callers_settings_come_first(dit):
    changed = recipe_for(dit, iterations=7, lr=0.5)
    assert (changed.iterations, changed.lr) == (7, 0.5)
    assert changed.target_modules == RECIPES["transformer"]["target_modules"]
    assert recipe_for(dit, target_modules="norms", seed=3) == TrainingConfig(target_modules="norms", seed=3)
    named = recipe_for(dit, target_modules=("attention",))
    assert (named.lr, named.iterations) == (RECIPES["transformer"]["lr"], RECIPES["transformer"]["iterations"])
    with pytest.raises(LineaError, match="iterations"):
        recipe_for(dit, iterations=0)


def test_training_without_settings_takes_it(dit, linea, tmp_path):
    few = recipe_for(dit, iterations=1, num_inference_steps=1, batch_size=2)
    expected = train(dit, load_concept("neon"), few)
    arguments = ("--iterations", 1, "--steps", 1, "--batch-size", 2, "--model", "shapeland-dit", "--out", tmp_path)
    assert linea("train", "neon", *arguments)[0] == 0
    learned = type(expected).from_pretrained(tmp_path)
    assert learned.metadata["training"]["scale_by_variance"] is True
    assert all((learned.numbers()[name] == number).all() for name, number in expected.numbers().items())


def test_modules_are_listed_by_the_recipe(linea):
    for model, names in (("shapeland-unet", "norm"), ("shapeland-dit", "attn")):
        code, out, _ = linea("modules", model)
        rows = [line.split()[0] for line in out.splitlines()[1:-1]]
        assert code == 0
        assert all(names in row for row in rows if not row.startswith("text_encoder"))
