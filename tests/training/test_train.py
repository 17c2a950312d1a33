"""Training on the embedded model: gradients, falling loss, determinism, untouched weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from linea_diffusion import (
    Concept,
    LineaError,
    SteeringMaps,
    TrainingConfig,
    TrainingDivergedError,
    ZeroMapsWarning,
    find_modules,
    record_activations,
    steering_loss,
    train_steering_maps,
)
from linea_diffusion.pipelines.calling import call_with_gradients, frozen
from linea_diffusion.training.calibration.calibrate import calibrate_progress
from linea_diffusion.training.loss.pooling import mean_pool

from ..conftest import NEON, SHORT, count_hooks, seeded
from .toy import differ, flat, stopping_after, told


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
    losses = train_steering_maps(pipe, NEON, config).metadata["losses"]
    assert len(losses) == 8
    assert losses[-1] < 0.9 * losses[0]


def test_the_same_seed_gives_the_same_maps_and_another_seed_others(pipe, short_maps):
    again = train_steering_maps(pipe, NEON, SHORT)
    other = train_steering_maps(pipe, NEON, TrainingConfig(**{**vars(SHORT), "seed": 1}))
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
        {"num_inference_steps": 1},
        {"guidance_scale": 3.0},
        {"target_modules": "text-attention"},
        {"pooling": "masked-mean"},
        {"call_arguments": {"height": 32, "width": 32}},
    ],
    ids=str,
)
def test_every_setting_of_calls_changes_the_maps(pipe, short_maps, change):
    assert differ(train_steering_maps(pipe, NEON, replace(SHORT, **change)), short_maps)


def test_levels_are_on_the_way_unless_they_are_left_out(pipe):
    levels = {0.5: "{prompt}, slightly neon"}
    concept = Concept.from_template(FEW.source, "{prompt}, neon", levels=levels)
    settings = {**vars(SHORT), "iterations": 2, "target_modules": "text-attention", "num_inference_steps": 1}
    through, straight = (
        flat(train_steering_maps(pipe, concept, TrainingConfig(**{**settings, "use_levels": way})))
        for way in (True, False)
    )
    without = flat(train_steering_maps(pipe, FEW, TrainingConfig(**settings)))
    assert not torch.equal(through, straight)
    assert torch.equal(straight, without)


def test_training_ends_with_a_calibrated_dial_and_the_maps_that_it_has_without_one(pipe, tmp_path):
    """A training that was stopped has none: nobody knows how its maps will turn."""
    settings = {**vars(SHORT), "target_modules": "text-attention", "num_inference_steps": 1, "calibrate": True}
    config = TrainingConfig(**settings)
    maps = train_steering_maps(pipe, FEW, config, checkpoint=tmp_path)
    curve = maps.metadata["calibration"]
    assert (curve["strengths"][0], curve["strengths"][-1]) == (curve["values"][0], curve["values"][-1]) == (0, 1)
    assert curve["measure"] == "progress of latents"
    assert maps.dial(None).name == "calibrated by progress of latents"
    again = 1.0 * maps
    arguments = {"num_inference_steps": 1, "guidance_scale": config.guidance_scale, "batch_size": 8}
    assert calibrate_progress(pipe, again, FEW.source, seed=config.seed * 1_000_003, **arguments) == curve
    without = train_steering_maps(pipe, FEW, TrainingConfig(**{**settings, "calibrate": False}))
    assert "calibration" not in without.metadata
    assert torch.equal(flat(without), flat(maps))
    resumed = train_steering_maps(pipe, FEW, config, checkpoint=tmp_path)
    assert told(resumed) == told(maps)
    stopped = train_steering_maps(pipe, FEW, config, stop=stopping_after(1))
    assert "calibration" not in stopped.metadata


def test_a_dial_that_cannot_be_calibrated_is_told_and_costs_no_maps(pipe, monkeypatch):
    def refuse(*_, **__):
        raise LineaError("got maps that do nothing")

    monkeypatch.setattr("linea_diffusion.training.calibration.reach.calibrate_progress", refuse)
    settings = {**vars(SHORT), "iterations": 1, "target_modules": "text-attention", "num_inference_steps": 1}
    with pytest.warns(UserWarning, match="the dial is not calibrated: got maps that do nothing"):
        maps = train_steering_maps(pipe, FEW, TrainingConfig(**{**settings, "calibrate": True}))
    assert "calibration" not in maps.metadata


def test_base_weights_flags_modes_and_hooks_are_as_before(pipe):
    models = [pipe.unet, pipe.text_encoder, pipe.vae]
    weights = [p.detach().clone() for model in models for p in model.parameters()]
    pipe.unet.train()
    pipe.vae.requires_grad_(False)
    flags = [p.requires_grad for model in models for p in model.parameters()]
    hooks = count_hooks(pipe)
    try:
        train_steering_maps(pipe, NEON, SHORT)
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
    assert (facts["concept"], facts["text"]) == ("neon", NEON.text)
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
        {"optimizer": "lion"},
        {"pooling": "max"},
        {"reduction": "median"},
        {"micro_batch_size": 0},
        {"step_bins": 0},
        {"step_bins": 5, "num_inference_steps": 4},
        {"tokens_per_sample": 1.5},
        {"tokens_per_sample": 7, "pooling": "mean"},
        {"tokens_per_sample": 7, "pairing": "law"},
        {"warm_start": 0.5, "pairing": "law"},
        {"warm_start": 0.5, "rank": 0},
        {"sparsity": 1.0},
        {"warm_start": 1.5},
        {"rank": -1},
        {"rank": 0, "scale": False, "shift": False},
        {"stretch": 0.0},
        {"pairing": "columns"},
        {"calibrate": "yes"},
        {"use_levels": None},
        {"l1": -1.0},
        {"group_lasso": float("nan")},
        {"map_dropout": 1.0},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(LineaError, match=next(iter(bad))):
        TrainingConfig(**bad)


def test_sparsity_is_reached_and_idle_modules_are_not_hooked(pipe):
    """Ranks of which either half is all zeros are left out."""
    settings = {**vars(SHORT), "iterations": 6, "sparsity": 0.99}
    maps = train_steering_maps(pipe, NEON, TrainingConfig(**settings))
    fresh = sum((2 + 2 * SHORT.rank) * affine.features for _, affine in maps.named_maps())
    assert 0 < maps.stored <= round(fresh * 0.01)
    assert all(affine.trimmed().rank == affine.rank for _, affine in maps.named_maps())
    active = dict(maps.acting())
    assert 0 < len(active) < len(maps.maps)
    before = count_hooks(pipe)
    with maps.apply(pipe):
        assert count_hooks(pipe) == before + len(active)


def test_step_bins_learn_apart_and_serve_other_step_counts(pipe):
    maps = train_steering_maps(pipe, NEON, TrainingConfig(**{**vars(SHORT), "step_bins": 2}))
    binned = [affine for name, affine in maps.named_maps() if name.startswith("unet")]
    assert all(affine.shift.shape[0] == 2 for affine in binned)
    assert any(not torch.equal(affine.shift[0], affine.shift[1]) for affine in binned)
    assert all(affine.bins == 1 for name, affine in maps.named_maps() if name.startswith("text_encoder"))
    with maps.apply(pipe, 5.0):
        first = pipe("a red heart", num_inference_steps=5, output_type="latent", generator=seeded()).images
    for _, affine in maps.named_maps():
        if affine.bins == 2:
            for numbers in affine.tensors().values():
                numbers[1].zero_()
    with maps.apply(pipe, 5.0):
        second = pipe("a red heart", num_inference_steps=5, output_type="latent", generator=seeded()).images
    assert not torch.equal(first, second)


COLOURS = ("red", "blue", "green", "yellow")
FEW = Concept("few", tuple(f"a {c} heart" for c in COLOURS), tuple(f"a {c} heart, neon" for c in COLOURS), "neon")


@pytest.mark.parametrize("every", [0, -1, 2.5])
def test_impossible_checkpoints_are_refused(pipe, tmp_path, every):
    with pytest.raises(LineaError, match="checkpoint_every"):
        train_steering_maps(pipe, NEON, SHORT, checkpoint=tmp_path, checkpoint_every=every)


def test_numbers_that_are_not_finite_name_their_place_and_leave_the_last_good_maps(pipe):
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1"
    module = find_modules(pipe, name)[name]
    passes = []

    def poison(module, inputs, output):
        passes.append(1)
        # three recorded passes of two steps each, one of a single row to see how much there is, then one pass per
        # iteration: the second step of iteration 2
        return output * float("nan") if len(passes) == 6 + 2 * 2 + 2 else None

    config = TrainingConfig(**{**vars(SHORT), "iterations": 5, "batch_size": None, "target_modules": "attention"})
    handle = module.register_forward_hook(poison)
    try:
        with pytest.raises(TrainingDivergedError, match=rf"{name}' at denoising step 1 in iteration 2") as caught:
            train_steering_maps(pipe, FEW, config)
    finally:
        handle.remove()
    maps = caught.value.maps
    assert len(maps.metadata["losses"]) == 2
    assert bool(flat(maps).isfinite().all())
    assert flat(maps).abs().max() > 0


def test_a_step_too_large_leaves_maps_with_a_finite_loss(pipe):
    config = TrainingConfig(**{**vars(SHORT), "lr": 1e30})
    with pytest.raises(TrainingDivergedError, match=r"in iteration 1.*lower lr") as caught:
        train_steering_maps(pipe, NEON, config)
    begun = train_steering_maps(pipe, NEON, config, stop=stopping_after(0)).numbers()
    kept = caught.value.maps.numbers()
    assert kept.keys() == begun.keys()
    assert all(torch.equal(kept[name], begun[name]) for name in begun)


def test_masked_means_need_a_text_encoder(pipe):
    settings = {**vars(SHORT), "pooling": "masked-mean", "target_modules": "norms"}
    with pytest.raises(LineaError, match="none of which is in a text encoder"):
        train_steering_maps(pipe, NEON, TrainingConfig(**settings))


def test_modules_that_sources_and_targets_look_the_same_to_are_refused(pipe):
    """The first step's first norm has seen no prompt yet."""
    settings = {
        **vars(SHORT),
        "target_modules": r"unet\.down_blocks\.0\.resnets\.0\.norm1",
        "num_inference_steps": 1,
        "batch_size": None,
    }
    with pytest.raises(LineaError, match="a loss of exactly 0 in the first iteration"):
        train_steering_maps(pipe, FEW, TrainingConfig(**settings))


def test_tokens_are_fewer_where_activations_would_fill_the_memory(pipe, monkeypatch):
    few = train_steering_maps(pipe, NEON, replace(SHORT, tokens_per_sample=2, calibrate=False))
    calls = {"unet": SHORT.num_inference_steps, "text_encoder": 1}
    token = sum(4 * affine.features * calls[name.split(".")[0]] for name, affine in few.named_maps())
    monkeypatch.setattr("linea_diffusion.training.iteration._LARGEST", int(2.5 * token * len(NEON.target)))
    fitted = train_steering_maps(pipe, NEON, replace(SHORT, calibrate=False))
    assert torch.equal(flat(fitted), flat(few))
    assert fitted.metadata["training"]["tokens_per_sample"] < SHORT.tokens_per_sample


def test_a_rank_above_the_features_is_all_of_them(pipe):
    one = r"text_encoder\.encoder\.layers\.0\.self_attn"
    maps = train_steering_maps(pipe, NEON, replace(SHORT, iterations=1, target_modules=one, rank=1000))
    ((_, affine),) = maps.named_maps()
    assert 8 < affine.rank <= affine.features


def test_maps_of_zeros_only_are_a_warning(pipe, recwarn):
    config = TrainingConfig(**{**vars(SHORT), "rank": 0, "l1": 100.0, "calibrate": True, "num_inference_steps": 1})
    maps = train_steering_maps(pipe, NEON, config)
    assert (maps.stored, maps.metadata.get("calibration")) == (0, None)
    (warning,) = [one for one in recwarn if issubclass(one.category, ZeroMapsWarning)]
    assert f"whose {maps.size} numbers are all zero, with l1=100" in str(warning.message)
    assert not [one for one in recwarn if "not calibrated" in str(one.message)]
