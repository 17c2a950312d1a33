"""What is told of a training, and what a weight of the penalty means at a reduction."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch

from linea_diffusion import SteeringMaps, TrainingConfig
from linea_diffusion.training.history import changed_settings, history

from .toy import TOYS, train_toy


def test_only_what_was_set_is_told():
    trained = asdict(TrainingConfig(lr=0.5, strengths=(1.0,), seed=4))
    assert changed_settings(trained) == {"lr": 0.5, "strengths": (1.0,), "seed": 4}
    assert changed_settings({**trained, "strengths": [1.0]})["strengths"] == [1.0]
    assert changed_settings({**trained, "strengths": list(TrainingConfig.strengths)}) == {"lr": 0.5, "seed": 4}


def test_history_has_losses_time_and_the_dial():
    curve = {"strengths": [0.0, 0.5, 1.0], "values": [0.0, 0.3, 1.0], "measure": "truth"}
    facts = {"training": {"strengths": [1.0, 0.5], "seed": 0}, "losses": [4.0, 2.0, 1.0], "training_seconds": 61.2}
    told = history(SteeringMaps({"unet.a": 3}, {**facts, "calibration": curve, "stopped_after": 3}))
    assert told["loss"] == "3 -> 1.5 (means over strengths), 3 iterations"
    assert told["training time"].startswith("61 seconds")
    assert told["calibration"] == "0: 0, 0.5: 0.3, 1: 1"
    assert told["stopped"] == "after 3 iterations"
    assert history(SteeringMaps({"unet.a": 3})) == {}


@pytest.mark.parametrize("penalty", ["l1", "group_lasso"])
def test_a_weight_is_the_papers_divided_by_the_places(penalty):
    """A mean over P places with weight v / P has the minimum of the sum with weight v; gradient steps scale alike."""
    config = TrainingConfig(
        iterations=12, lr=1e-2, optimizer="sgd", rank=0, pairing="law", scale_by_variance=False, strengths=(1.0,),
        num_inference_steps=1, batch_size=None, sparsity=0.0, stretch=1.0, calibrate=False, guidance_scale=1.0,
    )  # fmt: skip
    summed = train_toy(TOYS, replace(config, reduction="sum", **{penalty: 0.02}))
    places = 2 * len(summed.maps)  # a toy has two calls
    mean = train_toy(TOYS, replace(config, lr=config.lr * places, **{penalty: 0.02 / places}))
    free = train_toy(TOYS, replace(config, reduction="sum"))
    for (_, one), (_, other), (_, without) in zip(
        summed.named_maps(), mean.named_maps(), free.named_maps(), strict=True
    ):
        assert torch.allclose(one.shift, other.shift, atol=1e-5)
        assert torch.allclose(one.scale_offset, other.scale_offset, atol=1e-5)
        assert not torch.allclose(one.shift, without.shift, atol=1e-5), "the penalty does something"
