"""Training on the embedded model: gradients, falling loss, determinism, untouched weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from linea_diffusion import (
    Concept,
    LineaError,
    SteeringMaps,
    TrainingConfig,
    TrainingDivergedError,
    find_modules,
    load_concept,
    record_activations,
    steering_loss,
    train_steering_maps,
)
from linea_diffusion.pipelines.calling import call_with_gradients, frozen
from linea_diffusion.training.calibration.calibrate import calibrate_progress
from linea_diffusion.training.iteration import NotFiniteError
from linea_diffusion.training.loss.pooling import mean_pool
from linea_diffusion.training.stopping import StopRequest

from ..conftest import NEON, SHORT, count_hooks, seeded
from .toy import TOYS, train_toy


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


def _differ(first: SteeringMaps, second: SteeringMaps) -> bool:
    """Whether two trainings have led to other shifts, or other modules."""
    ours, theirs = ({name: affine.shift for name, affine in maps.named_maps()} for maps in (first, second))
    return ours.keys() != theirs.keys() or any(not torch.equal(ours[name], theirs[name]) for name in ours)


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
    assert _differ(train_steering_maps(pipe, NEON, replace(SHORT, **change)), short_maps)


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 2},
        {"lr": 1e-3},
        {"batch_size": 3},
        {"strengths": (1.0,)},
        {"dial_exponent": 0.5},
        {"optimizer": "sgd"},
        {"pooling": "mean"},
        {"tokens_per_sample": 3},
        {"pairing": "law"},
        {"pairing": "law", "pooling": "tokens"},
        {"rank": SHORT.rank + 1},
        {"rank": 0},
        {"shift": False},
        {"scale": not SHORT.scale},
        {"stretch": 2 * SHORT.stretch},
        {"warm_start": 0.0},
        {"warm_start": 1.0},
        {"reduction": "sum", "optimizer": "sgd"},
        {"scale_by_variance": not SHORT.scale_by_variance},
        {"step_bins": 2},
        {"backprop_through_steps": False},
        {"sparsity": 0.5},
        {"l1": 1e-4},
        {"group_lasso": 1e-4},
        {"seed": 1},
    ],
    ids=str,
)
def test_every_setting_of_learning_changes_the_maps(change):
    assert _differ(train_toy(TOYS, replace(SHORT, **change)), train_toy(TOYS, SHORT))


def test_levels_are_on_the_way_unless_they_are_left_out(pipe):
    levels = {0.5: "{prompt}, slightly neon"}
    concept = Concept.from_template(FEW.source, "{prompt}, neon", levels=levels)
    settings = {**vars(SHORT), "iterations": 2, "target_modules": "text-attention", "num_inference_steps": 1}
    through, straight = (
        _flat(train_steering_maps(pipe, concept, TrainingConfig(**{**settings, "use_levels": way})))
        for way in (True, False)
    )
    without = _flat(train_steering_maps(pipe, FEW, TrainingConfig(**settings)))
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
    assert torch.equal(_flat(without), _flat(maps))
    resumed = train_steering_maps(pipe, FEW, config, checkpoint=tmp_path)
    assert resumed.metadata == maps.metadata
    stopped = train_steering_maps(pipe, FEW, config, stop=_stopping_after(1))
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
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(LineaError, match=next(iter(bad))):
        TrainingConfig(**bad)


def _flat(maps) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in maps.parameters()])


@pytest.mark.parametrize("change", [{"micro_batch_size": 1}, {"micro_batch_size": 3}, {"gradient_checkpointing": True}])
def test_settings_that_only_save_memory_change_nothing(change):
    """Float32 rounding aside. SGD: Adam divides a gradient that is nothing but rounding by its own size. Laws: where a
    change has fewer directions than the rank, a regression's others are rounding, too."""
    config = replace(SHORT, optimizer="sgd", lr=1.0, pairing="law")
    plain, again = (_flat(train_toy(TOYS, one)) for one in (config, replace(config, **change)))
    assert (again - plain).norm() < 1e-5 * plain.norm()


def test_sparsity_is_reached_and_idle_modules_are_not_hooked(pipe):
    """Ranks of which either half is all zeros are left out."""
    settings = {**vars(SHORT), "iterations": 6, "sparsity": 0.99}
    maps = train_steering_maps(pipe, NEON, TrainingConfig(**settings))
    fresh = sum((2 + 2 * SHORT.rank) * affine.features for _, affine in maps.named_maps())
    assert 0 < maps.stored <= round(fresh * 0.01)
    assert all(affine.trimmed().rank == affine.rank for _, affine in maps.named_maps())
    acting = dict(maps.acting())
    assert 0 < len(acting) < len(maps.maps)
    before = count_hooks(pipe)
    with maps.apply(pipe):
        assert count_hooks(pipe) == before + len(acting)


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


class _InterruptError(Exception):
    pass


def _stop_at(monkeypatch, iteration: int, error: type[BaseException]) -> None:
    """Let training meet an error in the middle of an iteration."""
    from linea_diffusion.training.optimizer import MapOptimizer

    step = MapOptimizer.step

    def failing(self, number: int) -> None:
        step(self, number)
        if number == iteration:
            raise error

    monkeypatch.setattr(MapOptimizer, "step", failing)


COLOURS = ("red", "blue", "green", "yellow")
FEW = Concept("few", tuple(f"a {c} heart" for c in COLOURS), tuple(f"a {c} heart, neon" for c in COLOURS), "neon")
LONGER = {**vars(SHORT), "iterations": 5, "batch_size": 3, "num_inference_steps": 1, "sparsity": 0.5}


@pytest.fixture(scope="module")
def whole():
    """Maps of an uninterrupted training of a toy."""
    return train_toy(FEW, TrainingConfig(**LONGER))


@pytest.mark.parametrize("stopped_in", [0, 1, 3, 4])
def test_a_killed_training_goes_on_to_the_same_maps_bit_for_bit(whole, tmp_path, monkeypatch, stopped_in):
    config, concept = TrainingConfig(**LONGER), FEW
    with monkeypatch.context() as patch:
        _stop_at(patch, stopped_in, _InterruptError)
        with pytest.raises(_InterruptError):
            train_toy(concept, config, checkpoint=tmp_path / "state", checkpoint_every=2)
    resumed = train_toy(concept, config, checkpoint=tmp_path / "state", checkpoint_every=2)
    assert torch.equal(_flat(resumed), _flat(whole))
    assert resumed.metadata == whole.metadata


def test_a_killed_training_of_a_pipeline_goes_on_to_the_same_maps_bit_for_bit(pipe, tmp_path, monkeypatch):
    config, state = TrainingConfig(**LONGER), tmp_path / "state"
    with monkeypatch.context() as patch:
        _stop_at(patch, 3, _InterruptError)
        with pytest.raises(_InterruptError):
            train_steering_maps(pipe, FEW, config, checkpoint=state, checkpoint_every=2)
    resumed = train_steering_maps(pipe, FEW, config, checkpoint=state)
    whole = train_steering_maps(pipe, FEW, config)
    assert torch.equal(_flat(resumed), _flat(whole))
    assert resumed.metadata == whole.metadata
    resumed.save_pretrained(tmp_path / "maps")
    assert not state.exists()


def test_the_last_state_stays_until_the_maps_are_saved(whole, tmp_path, monkeypatch):
    config, concept, state = TrainingConfig(**LONGER), FEW, tmp_path / "state"
    maps = train_toy(concept, config, checkpoint=state)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _no_room)
        with pytest.raises(LineaError, match="No space left"):
            maps.save_pretrained(tmp_path / "maps")
    _stop_at(monkeypatch, 0, AssertionError)  # nothing is learned again
    again = train_toy(concept, config, checkpoint=state)
    assert torch.equal(_flat(again), _flat(whole))
    assert again.metadata == whole.metadata
    again.save_pretrained(tmp_path / "maps")
    assert not state.exists()
    again.save_pretrained(tmp_path / "maps")


def _no_room(*_):
    raise OSError(28, "No space left on device")


def test_a_last_state_that_cannot_be_written_costs_no_maps(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", _no_room)
        with pytest.warns(UserWarning, match="cannot be written"):
            maps = train_toy(FEW, TrainingConfig(**LONGER), checkpoint=tmp_path / "state")
    assert torch.equal(_flat(maps), _flat(whole))


def _stopping_after(iterations: int) -> StopRequest:
    """A request that comes while an iteration runs: training asks once before each."""
    asked = []

    class Counting(StopRequest):
        def __call__(self) -> bool:
            asked.append(1)
            return len(asked) > iterations

    return Counting()


def test_a_stop_keeps_the_maps_learned_so_far(whole, tmp_path):
    config, concept, state = TrainingConfig(**LONGER), FEW, tmp_path / "state"
    nothing = train_toy(concept, config, checkpoint=state, stop=_stopping_after(0))
    assert nothing.metadata["stopped_after"] == 0
    assert nothing.metadata["losses"] == []
    assert not state.exists()
    maps = train_toy(concept, config, checkpoint=state, stop=_stopping_after(2))
    assert maps.metadata["stopped_after"] == len(maps.metadata["losses"]) == 2
    assert _flat(maps).abs().max() > 0
    maps.save_pretrained(tmp_path / "maps")
    resumed = train_toy(concept, config, checkpoint=state)
    assert torch.equal(_flat(resumed), _flat(whole))


def test_a_state_of_another_training_is_refused_and_kept(tmp_path, monkeypatch):
    concept = FEW
    with monkeypatch.context() as patch:
        _stop_at(patch, 2, _InterruptError)
        with pytest.raises(_InterruptError):
            train_toy(concept, TrainingConfig(**LONGER), checkpoint=tmp_path, checkpoint_every=1)
    states = list(tmp_path.iterdir())
    with pytest.raises(LineaError, match="differs in training"):
        train_toy(concept, TrainingConfig(**{**LONGER, "lr": 1e-3}), checkpoint=tmp_path)
    with pytest.raises(LineaError, match="differs in concept"):
        train_toy(load_concept("mosaic"), TrainingConfig(**LONGER), checkpoint=tmp_path)
    assert list(tmp_path.iterdir()) == states
    (states[0] / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(LineaError, match="damaged"):
        train_toy(concept, TrainingConfig(**LONGER), checkpoint=tmp_path)


def test_an_interrupt_keeps_the_maps_learned_so_far(whole, tmp_path, monkeypatch):
    concept = FEW
    with monkeypatch.context() as patch:
        _stop_at(patch, 3, KeyboardInterrupt)
        with pytest.warns(UserWarning, match="after 3 of 5 iterations"):
            maps = train_toy(concept, TrainingConfig(**LONGER), checkpoint=tmp_path / "state")
    assert maps.metadata["stopped_after"] == len(maps.metadata["losses"]) == 3
    assert _flat(maps).abs().max() > 0
    resumed = train_toy(concept, TrainingConfig(**LONGER), checkpoint=tmp_path / "state")
    assert torch.equal(_flat(resumed), _flat(whole))


def test_a_resumed_training_that_diverges_at_once_keeps_what_was_resumed(tmp_path, monkeypatch):
    concept, config = FEW, TrainingConfig(**LONGER)
    with monkeypatch.context() as patch:
        _stop_at(patch, 3, KeyboardInterrupt)
        with pytest.warns(UserWarning, match="after 3 of 5"):
            kept = train_toy(concept, config, checkpoint=tmp_path / "state")
    monkeypatch.setattr("linea_diffusion.training.iteration._check_gradients", _not_finite)
    with pytest.raises(TrainingDivergedError, match="in iteration 3") as caught:
        train_toy(concept, config, checkpoint=tmp_path / "state")
    assert torch.equal(_flat(caught.value.maps), _flat(kept))


def _not_finite(maps) -> None:
    raise NotFiniteError("NaN or infinity")


@pytest.mark.parametrize("every", [0, -1, 2.5])
def test_impossible_checkpoints_are_refused(pipe, tmp_path, every):
    with pytest.raises(LineaError, match="checkpoint_every"):
        train_steering_maps(pipe, NEON, SHORT, checkpoint=tmp_path, checkpoint_every=every)


def test_an_interrupt_before_anything_is_learned_is_an_interrupt(monkeypatch):
    _stop_at(monkeypatch, 0, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train_toy(FEW, SHORT)


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
    assert bool(_flat(maps).isfinite().all())
    assert _flat(maps).abs().max() > 0


def test_a_step_too_large_leaves_maps_with_a_finite_loss(pipe):
    config = TrainingConfig(**{**vars(SHORT), "lr": 1e30})
    with pytest.raises(TrainingDivergedError, match=r"in iteration 1.*lower lr") as caught:
        train_steering_maps(pipe, NEON, config)
    begun = train_steering_maps(pipe, NEON, config, stop=_stopping_after(0)).numbers()
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
    assert torch.equal(_flat(fitted), _flat(few))
    assert fitted.metadata["training"]["tokens_per_sample"] < SHORT.tokens_per_sample


def test_a_rank_above_the_features_is_all_of_them(pipe):
    one = r"text_encoder\.encoder\.layers\.0\.self_attn"
    maps = train_steering_maps(pipe, NEON, replace(SHORT, iterations=1, target_modules=one, rank=1000))
    ((_, affine),) = maps.named_maps()
    assert 8 < affine.rank <= affine.features
