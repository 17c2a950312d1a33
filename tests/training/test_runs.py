"""Training through its smallest door: maps of a model that is no pipeline, with all that training can do.

Evidence: gradients of a loop whose steps are detached by hand, of PyTorch's own checkpointing against none, of whole
batches against pieces; identities between settings that must not matter.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from linea_diffusion import Concept, LineaError, SteeringMaps, TrainingConfig, TrainingDivergedError, steering_loss
from linea_diffusion.training.iteration import batches_of
from linea_diffusion.training.learning import for_concept, learn
from linea_diffusion.training.loss.targets import targets_of

from ..conftest import seeded
from .toy import COLOURS, FEATURES, TOKENS, TOYS, ToyRun, flat, train_toy

CONFIG = TrainingConfig(
    iterations=20, batch_size=None, num_inference_steps=3, strengths=(1.0,), sparsity=0.0, stretch=1.0, seed=1
)


def _learned(concept: Concept = TOYS, run: ToyRun | None = None, **changes) -> SteeringMaps:
    return train_toy(concept, replace(CONFIG, **changes), run=run)


def _gradients(run: ToyRun | None = None, *, strength: float = 0.7, **changes) -> torch.Tensor:
    """Of one iteration, away from the identity, so that every path counts."""
    config = for_concept(replace(CONFIG, **changes), TOYS)
    with batches_of(run or ToyRun(), config) as batches:
        (target,), _, recorded = targets_of(batches, TOYS, config)
        maps, draw = batches.fresh_maps(recorded), seeded(3)
        for parameter in maps.parameters():
            parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
        batches.gradients(maps, TOYS.source, range(len(TOYS.source)), target, strength=strength)
    return torch.cat([parameter.grad.flatten() for parameter in maps.parameters()])


def _differ(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("pairing", ["rows", "law"])
def test_the_loss_falls_and_all_maps_are_learned(pairing, guided):
    maps = _learned(run=ToyRun(guided=guided), pairing=pairing, lr=0.05)
    losses = maps.metadata["losses"]
    assert len(losses) == CONFIG.iterations
    assert losses[-1] < 0.5 * losses[0]
    assert [name for name, _ in maps.acting()] == ["reader.0", "mover.0"]
    assert (maps.metadata["base_model"], maps.metadata["concept"]) == ("toy", TOYS.name)


def test_the_loss_is_that_of_the_activations_at_every_step():
    config = replace(CONFIG, pairing="law", rank=0, scale_by_variance=False)
    with batches_of(ToyRun(), config) as batches:
        (target,), _, recorded = targets_of(batches, TOYS, config)
        maps = batches.fresh_maps(recorded)
        loss = batches.gradients(maps, TOYS.source, range(len(TOYS.source)), target).value
        source, wanted = batches.samples(TOYS.source), batches.samples(TOYS.target)
    assert loss == pytest.approx(steering_loss(source, wanted).item(), rel=1e-6)
    assert set(source) == {("reader.0", 0, 0), *(("mover.0", step, 0) for step in range(3))}


@pytest.mark.parametrize("pairing", ["rows", "law"])
def test_steps_that_are_cut_apart_have_the_gradients_of_a_loop_whose_steps_are_detached(pairing):
    cut = _gradients(backprop_through_steps=False, pairing=pairing)
    assert _differ(cut, _gradients(ToyRun(detached=True), pairing=pairing)) < 1e-5
    assert _differ(cut, _gradients(pairing=pairing)) > 0.01
    one, cut = (_gradients(ToyRun(1), backprop_through_steps=way, pairing=pairing) for way in (True, False))
    assert _differ(cut, one) < 1e-6


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("step_bins", [1, 3])
def test_checkpointing_changes_no_bit(cut, step_bins):
    """Steps that run again have their own bin's map."""
    settings = {"backprop_through_steps": not cut, "step_bins": step_bins}
    assert torch.equal(_gradients(**settings, gradient_checkpointing=True), _gradients(**settings))


@pytest.mark.parametrize("settings", [{}, {"pairing": "law"}, {"pooling": "mean"}, {"backprop_through_steps": False}])
@pytest.mark.parametrize("size", [1, 4])
def test_micro_batches_have_the_gradients_of_the_whole_batch(settings, size):
    for guided in (False, True):
        gradients = _gradients(ToyRun(guided=guided), **settings)
        assert _differ(_gradients(ToyRun(guided=guided), micro_batch_size=size, **settings), gradients) < 1e-5


def test_step_bins_learn_apart_where_there_are_steps():
    maps = dict(_learned(step_bins=3).named_maps())
    assert (maps["reader.0"].bins, maps["mover.0"].bins) == (1, 3)
    assert not torch.equal(maps["mover.0"].shift[0], maps["mover.0"].shift[1])


@pytest.mark.parametrize("rank", [0, 2])
def test_sparsity_is_reached_exactly(rank):
    """Before ranks are left out of which either half is all zeros."""
    config = for_concept(replace(CONFIG, sparsity=0.7, rank=rank), TOYS)
    with batches_of(ToyRun(), config) as batches:
        maps = learn(batches, TOYS)
    assert maps.stored == round(0.3 * maps.size)
    assert maps.metadata["losses"][-1] < maps.metadata["losses"][0]


def test_the_group_penalty_turns_whole_maps_off():
    assert not list(_learned(group_lasso=10.0, warm_start=0.0).acting())


def test_maps_are_left_out_by_chance_but_never_all():
    """Alone in each iteration, a map learns what it can do by itself; the same seed leaves out the same."""
    alone = _learned(map_dropout=0.99, iterations=1, warm_start=0.0)
    assert len(dict(alone.acting())) == 1 < len(alone.maps)
    many, again, together = (flat(_learned(map_dropout=share, l1=0.001)) for share in (0.5, 0.5, 0.0))
    assert torch.equal(many, again)
    assert not torch.equal(many, together)


def test_the_way_of_rows_leads_through_levels():
    levels = {0.25: "{prompt}, dim", 0.75: "{prompt}, neon , grey"}
    concept = Concept.from_template(TOYS.source, "{prompt}, neon", levels=levels)
    config = replace(CONFIG, pairing="rows", strengths=(0.25, 0.5, 0.75, 1.0))
    with batches_of(ToyRun(), config) as batches:
        targets, _, recorded = targets_of(batches, concept, config)
        between = [batches.record(level.target, range(len(COLOURS))) for level in concept.levels]
        rows = range(len(COLOURS))
        for place, values in recorded.items():
            first, second = (side[place] for side in between)
            for target, wanted in zip(targets, (first, (first + second) / 2, second, values), strict=True):
                loss, gradients = target.distances({place: wanted}, rows)
                assert loss < 1e-9
                assert gradients[place].shape == (len(COLOURS), 1 if place[0] == "reader.0" else TOKENS, FEATURES)
    through, straight = (_learned(concept, strengths=(0.5, 1.0), use_levels=way) for way in (True, False))
    assert not torch.equal(flat(through), flat(straight))


def test_noise_is_the_prompts_own_and_the_same_for_both_sides():
    """Source and target that read alike differ in nothing: the noise of a row is its own."""
    with batches_of(ToyRun(), replace(CONFIG, pairing="rows")) as batches:
        rows = batches.record(TOYS.source, range(len(COLOURS)))
        again = batches.record(TOYS.source, [3, 1])
    for place, values in rows.items():
        torch.testing.assert_close(values[[3, 1]], again[place])


def test_numbers_that_are_not_finite_are_named_by_module_and_step():
    run = ToyRun()
    passes = []  # two sides of three steps, then three an iteration

    def poison(module, inputs, output):
        passes.append(1)
        return output * float("nan") if len(passes) == 23 else None

    run.models["mover"][0].register_forward_hook(poison)
    with pytest.raises(TrainingDivergedError, match=r"'mover.0' at denoising step 1 in iteration 5") as caught:
        _learned(run=run)
    assert len(caught.value.maps.metadata["losses"]) == 5


def test_a_target_that_the_model_cannot_tell_from_its_source_is_refused():
    run = ToyRun()
    run.models["reader"][0].weight.data.zero_()
    run.models["reader"][0].bias.data.zero_()
    with pytest.raises(LineaError, match="a loss of exactly 0"):
        _learned(run=run)


@pytest.mark.parametrize("change", [{"tokens_per_sample": 3}, {"warm_start": 0.5}])
def test_settings_that_rows_in_no_pairs_have_no_use_for_are_refused(change):
    """Whether rows are pairs, the concept says: only then is it known."""
    loose = Concept("loose", TOYS.source, tuple(reversed(TOYS.target)), "neon")
    config = replace(CONFIG, pairing="auto", **change)
    assert for_concept(config, TOYS).pairing == "rows"
    with pytest.raises(LineaError, match=f"{next(iter(change))}.*have no use for it"):
        for_concept(config, loose)
    with pytest.raises(LineaError, match="have no use for it"):
        replace(config, pairing="law")
    if "tokens_per_sample" in change:
        assert for_concept(replace(config, pooling="tokens"), loose).pairing == "law"
