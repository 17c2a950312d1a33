"""Learning on any model: which settings matter, what ends a training, and how it goes on to the same maps.

Evidence: bit-for-bit equality with a training that nothing ended, on a toy; once on a pipeline.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from linea_diffusion import (
    Concept,
    LineaError,
    TrainingConfig,
    TrainingDivergedError,
    load_concept,
    train_steering_maps,
)
from linea_diffusion.training.iteration import NotFiniteError

from ..conftest import SHORT
from .toy import TOYS, differ, flat, stopping_after, told, train_toy

COLOURS = ("red", "blue", "green", "yellow")
FEW = Concept("few", tuple(f"a {c} heart" for c in COLOURS), tuple(f"a {c} heart, neon" for c in COLOURS), "neon")
LONGER = {**vars(SHORT), "iterations": 5, "batch_size": 3, "num_inference_steps": 1, "sparsity": 0.5}


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
    assert differ(train_toy(TOYS, replace(SHORT, **change)), train_toy(TOYS, SHORT))


@pytest.mark.parametrize("change", [{"micro_batch_size": 1}, {"micro_batch_size": 3}, {"gradient_checkpointing": True}])
def test_settings_that_only_save_memory_change_nothing(change):
    """Float32 rounding aside. SGD: Adam divides a gradient that is nothing but rounding by its own size. Laws: where a
    change has fewer directions than the rank, a regression's others are rounding, too."""
    config = replace(SHORT, optimizer="sgd", lr=1.0, pairing="law")
    plain, again = (flat(train_toy(TOYS, one)) for one in (config, replace(config, **change)))
    assert (again - plain).norm() < 1e-5 * plain.norm()


class _InterruptError(Exception):
    pass


def _stop_at(monkeypatch, iteration: int, error: type[BaseException]) -> None:
    """Let training meet an error in the middle of an iteration."""
    from linea_diffusion.training.state.optimizer import MapOptimizer

    step = MapOptimizer.step

    def failing(self, number: int) -> None:
        step(self, number)
        if number == iteration:
            raise error

    monkeypatch.setattr(MapOptimizer, "step", failing)


@pytest.fixture(scope="module")
def expected_maps():
    """Maps of an uninterrupted training of a toy."""
    return train_toy(FEW, TrainingConfig(**LONGER))


@pytest.mark.parametrize("stopped_in", [0, 1, 3, 4])
def test_a_killed_training_goes_on_to_the_same_maps_bit_for_bit(expected_maps, tmp_path, monkeypatch, stopped_in):
    config, concept = TrainingConfig(**LONGER), FEW
    with monkeypatch.context() as patch:
        _stop_at(patch, stopped_in, _InterruptError)
        with pytest.raises(_InterruptError):
            train_toy(concept, config, checkpoint=tmp_path / "state", checkpoint_every=2)
    resumed = train_toy(concept, config, checkpoint=tmp_path / "state", checkpoint_every=2)
    assert torch.equal(flat(resumed), flat(expected_maps))
    assert told(resumed) == told(expected_maps)


def test_a_killed_training_of_a_pipeline_goes_on_to_the_same_maps_bit_for_bit(pipe, tmp_path, monkeypatch):
    config, state = TrainingConfig(**LONGER), tmp_path / "state"
    with monkeypatch.context() as patch:
        _stop_at(patch, 3, _InterruptError)
        with pytest.raises(_InterruptError):
            train_steering_maps(pipe, FEW, config, checkpoint=state, checkpoint_every=2)
    resumed = train_steering_maps(pipe, FEW, config, checkpoint=state)
    reference = train_steering_maps(pipe, FEW, config)
    assert torch.equal(flat(resumed), flat(reference))
    assert told(resumed) == told(reference)
    resumed.save_pretrained(tmp_path / "maps")
    assert not state.exists()


def test_the_last_state_stays_until_the_maps_are_saved(expected_maps, tmp_path, monkeypatch):
    config, concept, state = TrainingConfig(**LONGER), FEW, tmp_path / "state"
    maps = train_toy(concept, config, checkpoint=state)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _no_room)
        with pytest.raises(LineaError, match="No space left"):
            maps.save_pretrained(tmp_path / "maps")
    _stop_at(monkeypatch, 0, AssertionError)  # nothing is learned again
    again = train_toy(concept, config, checkpoint=state)
    assert torch.equal(flat(again), flat(expected_maps))
    assert told(again) == told(expected_maps)
    assert again.metadata["training_seconds"] >= maps.metadata["training_seconds"], "the time before counts"
    again.save_pretrained(tmp_path / "maps")
    assert not state.exists()
    again.save_pretrained(tmp_path / "maps")


def _no_room(*_):
    raise OSError(28, "No space left on device")


def test_a_last_state_that_cannot_be_written_costs_no_maps(expected_maps, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", _no_room)
        with pytest.warns(UserWarning, match="cannot be written"):
            maps = train_toy(FEW, TrainingConfig(**LONGER), checkpoint=tmp_path / "state")
    assert torch.equal(flat(maps), flat(expected_maps))


def test_a_stop_keeps_the_maps_learned_so_far(expected_maps, tmp_path):
    config, concept, state = TrainingConfig(**LONGER), FEW, tmp_path / "state"
    nothing = train_toy(concept, config, checkpoint=state, stop=stopping_after(0))
    assert nothing.metadata["stopped_after"] == 0
    assert nothing.metadata["losses"] == []
    assert not state.exists()
    maps = train_toy(concept, config, checkpoint=state, stop=stopping_after(2))
    assert maps.metadata["stopped_after"] == len(maps.metadata["losses"]) == 2
    assert flat(maps).abs().max() > 0
    maps.save_pretrained(tmp_path / "maps")
    resumed = train_toy(concept, config, checkpoint=state)
    assert torch.equal(flat(resumed), flat(expected_maps))


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


def test_an_interrupt_keeps_the_maps_learned_so_far(expected_maps, tmp_path, monkeypatch):
    concept = FEW
    with monkeypatch.context() as patch:
        _stop_at(patch, 3, KeyboardInterrupt)
        with pytest.warns(UserWarning, match="after 3 of 5 iterations"):
            maps = train_toy(concept, TrainingConfig(**LONGER), checkpoint=tmp_path / "state")
    assert maps.metadata["stopped_after"] == len(maps.metadata["losses"]) == 3
    assert flat(maps).abs().max() > 0
    resumed = train_toy(concept, TrainingConfig(**LONGER), checkpoint=tmp_path / "state")
    assert torch.equal(flat(resumed), flat(expected_maps))


def test_a_resumed_training_that_diverges_at_once_keeps_what_was_resumed(tmp_path, monkeypatch):
    concept, config = FEW, TrainingConfig(**LONGER)
    with monkeypatch.context() as patch:
        _stop_at(patch, 3, KeyboardInterrupt)
        with pytest.warns(UserWarning, match="after 3 of 5"):
            kept = train_toy(concept, config, checkpoint=tmp_path / "state")
    monkeypatch.setattr("linea_diffusion.training.iteration._check_gradients", _not_finite)
    with pytest.raises(TrainingDivergedError, match="in iteration 3") as caught:
        train_toy(concept, config, checkpoint=tmp_path / "state")
    assert torch.equal(flat(caught.value.maps), flat(kept))


def _not_finite(maps) -> None:
    raise NotFiniteError("NaN or infinity")


def test_an_interrupt_before_anything_is_learned_is_an_interrupt(monkeypatch):
    _stop_at(monkeypatch, 0, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train_toy(FEW, SHORT)
