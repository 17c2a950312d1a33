"""The families of transformers, tiny and with random weights: steering holds in all of them alike.

Evidence: identities (strength 0, cache on and off, rows together and one by one), and gradients that reach every map.
"""

from __future__ import annotations

import pytest
import torch

from linea_diffusion import find_modules, recipe_for, train_steering_maps
from linea_diffusion.pipelines.language.tokens import padded, tokens_of
from linea_diffusion.steering.activations import record_activations
from linea_diffusion.training.language import LanguageRun

from .families import FAMILIES, FRIENDLY, PROMPTS, hooks_in, model_of, random_maps

NEW = 4


def _inputs(base, prompts=PROMPTS):
    return dict(zip(("input_ids", "attention_mask"), padded(tokens_of(base, prompts), base, "left"), strict=True))


def _logits(base, prompts=PROMPTS, **arguments) -> torch.Tensor:
    """(n, new tokens, vocabulary), of a greedy continuation."""
    settings = {"max_new_tokens": NEW, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    made = base.model.generate(**_inputs(base, prompts), **settings, **arguments)
    return torch.stack(made.logits, dim=1)


def _maps(base):
    """Of every norm and attention layer that a pass meets."""
    run = LanguageRun(base, recipe_for(base))
    modules = find_modules(base, ("norms", "attention"))
    with torch.no_grad(), record_activations(modules) as seen:
        run.forward(PROMPTS, (0, 1, 2))
    return random_maps({name: values[0].shape[-1] for name, values in seen.items() if values})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_steered_within_generate(family):
    base = model_of(family)
    maps, before = _maps(base), hooks_in(base.model)
    plain = _logits(base)
    with maps.apply(base.model, 0.0):
        assert torch.equal(_logits(base), plain)
    with maps.apply(base, 1.0):
        steered = _logits(base)
        torch.testing.assert_close(_logits(base, use_cache=False), steered, rtol=1e-3, atol=1e-4)
    assert (steered - plain).abs().max() > 0.1
    strengths = [0.0, 0.5, 1.0]
    with maps.apply(base, strengths):
        together = _logits(base)
    for row, strength in enumerate(strengths):
        with maps.apply(base, strength):
            alone = _logits(base, [PROMPTS[row]])[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-3, atol=1e-4)
    assert hooks_in(base.model) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_map_of_a_family(family):
    base = model_of(family)
    config = recipe_for(base, iterations=1, target_modules=("norms", "attention"), map_dropout=0.0)
    maps = train_steering_maps(base, FRIENDLY, config)
    idle = [name for name, affine in maps.named_maps() if affine.is_identity]
    assert not idle
    assert len(maps.maps) >= 4
    assert all(parameter.requires_grad for parameter in base.model.parameters())
