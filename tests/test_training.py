"""Training on the embedded model: gradients, falling loss, determinism, untouched weights."""

from __future__ import annotations

import pytest
import torch

from linea_diffusion import (
    LineaError,
    SteeringMaps,
    TrainingConfig,
    find_modules,
    load_concept,
    record_activations,
    steering_loss,
    train_steering_maps,
)
from linea_diffusion.pooling import mean_pool
from linea_diffusion.calling import call_with_gradients, frozen

from .conftest import SHORT, count_hooks, seeded


def _loss_of(pipe, maps, prompts, target_prompts):
    """The loss, written out by hand for one batch and two steps."""
    modules = find_modules(pipe.base)
    places = []
    for texts, strength in ((prompts, 1.0), (target_prompts, 0.0)):
        with maps.apply(pipe.base, strength), record_activations(modules, pool=mean_pool) as recorded:
            call_with_gradients(
                pipe.base, prompt=texts, num_inference_steps=2, guidance_scale=1.0, output_type="latent",
                generator=[seeded(i) for i in range(len(texts))],
            )  # fmt: skip
        places.append({(name, i): rows for name, calls in recorded.items() for i, rows in enumerate(calls)})
    return steering_loss(*places)


def test_gradients_reach_every_map_and_equal_finite_differences(pipe, random_maps):
    maps = SteeringMaps({name: len(affine.shift) for name, affine in random_maps.named_maps()})
    prompts, targets = ["a red heart", "a blue fish"], ["a red heart, neon", "a blue fish, neon"]
    with frozen(pipe.base):
        _loss_of(pipe, maps, prompts, targets).backward()
        gradients = {name: affine.shift.grad.clone() for name, affine in maps.named_maps()}
        assert all(bool(g.isfinite().all()) and g.abs().max() > 0 for g in gradients.values())
        # The slope along the gradient, through text encoder, denoiser and two denoising steps.
        for name in (
            "text_encoder.encoder.layers.0.self_attn",
            "unet.mid_block.attentions.0.transformer_blocks.0.attn2",
        ):
            direction = gradients[name] / gradients[name].norm()
            affine = dict(maps.named_maps())[name]
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    affine.shift.copy_(sign * 1e-2 * direction)
                    values.append(_loss_of(pipe, maps, prompts, targets).item())
            affine.shift.data.zero_()
            assert (values[0] - values[1]) / 2e-2 == pytest.approx(gradients[name].norm().item(), rel=0.05)


def test_the_loss_falls(pipe):
    config = TrainingConfig(iterations=8, num_inference_steps=1, strengths=(1.0,))
    losses = train_steering_maps(pipe, load_concept("blueprint"), config).metadata["losses"]
    assert len(losses) == 8
    assert losses[-1] < 0.9 * losses[0]


def test_the_same_seed_gives_the_same_maps_and_another_seed_others(pipe, short_maps):
    again = train_steering_maps(pipe, load_concept("neon"), SHORT)
    other = train_steering_maps(pipe, load_concept("neon"), TrainingConfig(**{**vars(SHORT), "seed": 1}))
    for (_, first), (_, second) in zip(short_maps.named_maps(), again.named_maps(), strict=True):
        assert torch.equal(first.scale_offset, second.scale_offset)
        assert torch.equal(first.shift, second.shift)
    assert any(
        not torch.equal(first.shift, second.shift)
        for (_, first), (_, second) in zip(short_maps.named_maps(), other.named_maps(), strict=True)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 2},
        {"lr": 1e-3},
        {"batch_size": 3},
        {"num_inference_steps": 1},
        {"guidance_scale": 3.0},
        {"target_modules": "text-attention"},
        {"strengths": (1.0,)},
        {"dial_exponent": 0.5},
        {"call_arguments": {"height": 32, "width": 32}},
    ],
)
def test_every_setting_changes_the_maps(pipe, short_maps, change):
    maps = train_steering_maps(pipe, load_concept("neon"), TrainingConfig(**{**vars(SHORT), **change}))
    ours, theirs = ({name: affine.shift for name, affine in m.named_maps()} for m in (maps, short_maps))
    assert ours.keys() != theirs.keys() or any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_base_weights_flags_modes_and_hooks_are_as_before(pipe):
    models = [pipe.unet, pipe.text_encoder, pipe.vae]
    weights = [p.detach().clone() for model in models for p in model.parameters()]
    pipe.unet.train()
    pipe.vae.requires_grad_(False)
    flags = [p.requires_grad for model in models for p in model.parameters()]
    hooks = count_hooks(pipe)
    try:
        train_steering_maps(pipe, load_concept("neon"), SHORT)
        assert [p.requires_grad for model in models for p in model.parameters()] == flags
        assert pipe.unet.training
        assert count_hooks(pipe) == hooks
        assert all(torch.equal(a, b) for a, b in zip(weights, (p for m in models for p in m.parameters()), strict=True))
        assert all(p.grad is None for model in models for p in model.parameters())
    finally:
        pipe.unet.eval()
        pipe.vae.requires_grad_(True)


def test_metadata_tells_how_it_was_made(short_maps):
    facts = short_maps.metadata
    assert (facts["concept"], facts["text"]) == ("neon", load_concept("neon").text)
    assert facts["base_model"] == "shapeland-unet"
    assert facts["base_class"] == "StableDiffusionPipeline"
    assert facts["training"]["iterations"] == SHORT.iterations
    assert len(facts["losses"]) == SHORT.iterations


@pytest.mark.parametrize(
    "bad",
    [
        {"iterations": 0},
        {"batch_size": 1},
        {"num_inference_steps": 2.5},
        {"lr": -1.0},
        {"dial_exponent": 0.0},
        {"strengths": ()},
        {"strengths": (0.0, 1.0)},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(LineaError, match=next(iter(bad))):
        TrainingConfig(**bad)


def test_a_loss_that_is_not_finite_stops_with_the_iteration(pipe):
    with pytest.raises(LineaError, match="in iteration 1"):
        train_steering_maps(pipe, load_concept("neon"), TrainingConfig(**{**vars(SHORT), "lr": 1e30}))
