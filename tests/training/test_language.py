"""A language model through training's door: what is recorded, and what has no meaning for it.

Evidence: identities (padding does not matter, pieces add up, checkpointing changes nothing), a fall of the loss, and
refusals.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from linea_diffusion import Concept, LanguageModel, LineaError, mean_shift, recipe_for, train_steering_maps
from linea_diffusion.training.iteration import batches_of
from linea_diffusion.training.models import run_of
from linea_diffusion.training.preview import Preview

from ..language.families import FRIENDLY, PROMPTS, TOKENIZER, model_of
from .toy import flat


@pytest.fixture(scope="module")
def base() -> LanguageModel:
    return model_of("llama")


def _config(base, **changes):
    return recipe_for(base, **{"iterations": 3, "target_modules": ("norms", "attention", "mlps"), **changes})


def test_the_mean_is_over_each_prompts_own_tokens(base):
    config = _config(base)
    with batches_of(run_of(base, config), config) as batches:
        together = batches.record(PROMPTS, range(3))
        alone = [batches.record(PROMPTS, [row]) for row in range(3)]
    assert len(together) == 9
    for place, rows in together.items():
        torch.testing.assert_close(rows, torch.cat([one[place] for one in alone]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{"micro_batch_size": 2}, {"gradient_checkpointing": True}])
def test_pieces_and_checkpoints_learn_the_same(base, changes):
    whole = train_steering_maps(base, FRIENDLY, _config(base))
    other = train_steering_maps(base, FRIENDLY, _config(base, **changes))
    torch.testing.assert_close(flat(other), flat(whole), rtol=1e-3, atol=1e-5)


def test_checkpointing_runs_the_blocks_again(base):
    config, passes = _config(base, iterations=1, gradient_checkpointing=True), []
    block = base.model.model.layers[0].mlp
    with block.register_forward_hook(lambda *_: passes.append(1)):
        train_steering_maps(base, FRIENDLY, config)
        again = len(passes)
        train_steering_maps(base, FRIENDLY, replace(config, gradient_checkpointing=False))
    assert again == len(passes) - again + 1


def test_the_loss_falls_and_a_checkpoint_goes_on(base, tmp_path):
    config = _config(base, iterations=16, lr=0.05)
    maps = train_steering_maps(base, FRIENDLY, config, checkpoint=tmp_path, checkpoint_every=4)
    losses = maps.metadata["losses"]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    again = train_steering_maps(base, FRIENDLY, config, checkpoint=tmp_path)
    assert torch.equal(flat(again), flat(maps))


def test_closed_forms_are_for_texts_too(base):
    config = _config(base)
    maps = mean_shift(base, FRIENDLY, config)
    with batches_of(run_of(base, config), config) as batches:
        source, target = batches.samples(FRIENDLY.source), batches.samples(FRIENDLY.target)
    for name, affine in maps.named_maps():
        place = (name, 0, 0)
        torch.testing.assert_close(affine.shift, target[place].mean(0) - source[place].mean(0))
    assert maps.metadata["method"] == "mean shift"


def test_a_callback_is_told_of_every_iteration(base):
    told = []
    train_steering_maps(base, FRIENDLY, _config(base), callback=told.append)
    assert [one.iteration for one in told] == [1, 2, 3]
    assert set(told[0].losses_by_group) >= {"language_model.self_attn", "language_model.mlp"}
    with pytest.raises(LineaError, match="it makes texts"):
        told[0].pictures()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_inference_steps": 2, "step_bins": 2}, "step_bins=2 for a language model"),
        ({"guidance_scale": 3.0}, "guidance_scale=3.0 for a language model"),
        ({"backprop_through_steps": False}, "backprop_through_steps=False for a language model"),
        ({"call_arguments": {"height": 8}}, "call_arguments=.* for a language model"),
        ({"pooling": "tokens"}, "pooling='tokens' for a language model"),
        ({"target_modules": "text-attention"}, "got 'text-attention', which no module of LanguageModel matches"),
    ],
)
def test_settings_for_pictures_are_refused(base, changes, message):
    with pytest.raises(LineaError, match=message):
        train_steering_maps(base, FRIENDLY, _config(base, **changes))


def test_what_teaches_nothing_is_refused(base):
    unknown = Concept("unknown", ("so zzz .", "so yyy ."), ("so xxx .", "so www ."), "unknown")
    with pytest.raises(LineaError, match="the same tokens"):
        train_steering_maps(base, unknown, _config(base))
    long = replace(FRIENDLY, source=(*FRIENDLY.source, "so " * 90))
    with pytest.raises(LineaError, match="with 91 tokens: expected at most the 64"):
        train_steering_maps(base, long, _config(base))
    with pytest.raises(LineaError, match="without its tokenizer"):
        train_steering_maps(base.model, FRIENDLY, _config(base))
    with pytest.raises(LineaError, match="it makes texts"):
        train_steering_maps(base, FRIENDLY, _config(base), preview=Preview("preview.png", 1))


def test_the_recipe_is_of_laws_and_without_a_schedule(base):
    recipe = recipe_for(base, FRIENDLY)
    assert (recipe.pairing, recipe.pooled, recipe.rank, recipe.num_inference_steps) == ("law", "mean", 0, 1)
    assert not recipe.calibrate
    assert recipe_for(base, target_modules="mlps").pairing == "law"
    assert TOKENIZER.padding_side == "left"
