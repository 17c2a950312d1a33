"""Who looks on while maps are learned: callbacks and trackers see it, and leave no trace in it."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from linea_diffusion import train_steering_maps
from linea_diffusion.errors import LineaError
from linea_diffusion.training.tracking import check_trackers, tracked
from linea_diffusion.training.watching import group_of

from ..conftest import NEON, SHORT

CONFIG = replace(SHORT, iterations=2, strengths=(1.0,))


def test_a_callback_sees_losses_support_and_pictures(pipe):
    seen, pictures = [], []

    def look(state) -> None:
        seen.append(state)
        if state.iteration == state.iterations:
            pictures.extend(state.pictures(strengths=(0.0, 4.0)))

    maps = train_steering_maps(pipe, NEON, CONFIG, callback=look)
    assert [state.iteration for state in seen] == [1, 2]
    assert [state.loss for state in seen] == pytest.approx(maps.metadata["losses"], rel=1e-5)
    assert set(seen[0].losses) == {name for name, _ in maps.named_maps()}
    groups = seen[0].losses_by_group
    assert {"text_encoder.self_attn", "unet.attn1", "unet.attn2"} == set(groups)
    assert sum(groups.values()) == pytest.approx(seen[0].loss)
    assert 0 < seen[1].support <= 1
    assert np.abs(np.asarray(pictures[0], float) - np.asarray(pictures[1], float)).mean() > 0.1
    plain = train_steering_maps(pipe, NEON, CONFIG)
    assert plain.metadata["losses"] == maps.metadata["losses"]


def test_what_a_callback_raises_ends_the_training(pipe):
    def look(state) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        train_steering_maps(pipe, NEON, CONFIG, callback=look)


def test_groups_are_components_and_kinds():
    assert group_of("unet.down_blocks.0.attentions.1.attn1") == "unet.attn1"
    assert group_of("transformer.blocks.3.attn:1") == "transformer.attn:1"


def test_tensorboard_gets_numbers_and_pictures(pipe, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracked(["tensorboard"], tmp_path, "neon", asdict(CONFIG), pictures_every=1) as look:
        maps = train_steering_maps(pipe, NEON, CONFIG, callback=look)
    events = EventAccumulator(str(tmp_path / "neon"), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    assert {"loss", "support", "loss/unet.attn1"} <= set(tags["scalars"])
    assert [one.value for one in events.Scalars("loss")] == pytest.approx(maps.metadata["losses"], rel=1e-5)
    assert [one.step for one in events.Scalars("loss")] == [1, 2]
    assert tags["images"]


@pytest.mark.parametrize(
    ("name", "message"), [("tensorbord", "nearest: tensorboard"), ("clearml", "pip install clearml")]
)
def test_trackers_that_are_not_there(name, message):
    with pytest.raises(LineaError, match=message):
        check_trackers([name])


def test_the_command_line_tracks(linea, tmp_path):
    code, _, errors = linea("train", "neon", "--track", "tensorbord", "--out", tmp_path / "maps")
    assert code in (1, 2)
    assert "nearest: tensorboard" in errors
    code, _, _ = linea(
        "train", "neon", "--iterations", 1, "--batch-size", 2, "--preview", 0, "--track", "tensorboard",
        "--out", tmp_path / "maps",
    )  # fmt: skip
    assert code == 0
    assert list((tmp_path / "maps" / "tracking" / "neon").glob("events.*"))
